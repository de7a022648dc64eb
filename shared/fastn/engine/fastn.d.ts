// The types of what a workflow program finds: `ctx`, `fastn`, `console`, and the modules it can import.
// An editor reads them; the engine takes types out and does not check them.

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** What the default export is called with. */
interface FastnContext<Input = any> {
  /** What the run was started with: the body of the call, or the event's payload. */
  readonly input: Input;
  /** The request's headers, without those that carry credentials. */
  readonly headers: Readonly<Record<string, string>>;
}

/** The Error that a failed host call rejects with. */
interface FastnCallError extends Error {
  readonly code?: string;
  readonly details?: {
    readonly code?: string;
    /** False where the vendor understood the call and refused it. */
    readonly retryable?: boolean;
    readonly step?: string | null;
    readonly datasourceDebug?: unknown;
    readonly problems?: unknown;
  };
}

/** `fastn.connector.slack.postMessage({ channel, text })`: the connector's slug in camelCase, then its action. */
type FastnConnectors = Readonly<
  Record<string, Readonly<Record<string, (args?: Record<string, unknown>) => Promise<any>>>>
>;

interface FastnStateOptions {
  scope?: "ORG" | "INVOCATION";
  ttlSeconds?: number;
  /** The same as ttlSeconds. */
  ttl?: number;
  [name: string]: unknown;
}

interface FastnApi {
  readonly connector: FastnConnectors;
  readonly db: { query(sql: string, params?: readonly unknown[]): Promise<any> };
  readonly state: {
    get(key: string, options?: FastnStateOptions): Promise<any>;
    set(key: string, value: unknown, options?: FastnStateOptions): Promise<any>;
    delete(key: string, options?: FastnStateOptions): Promise<any>;
  };
  readonly secrets: { get(name: string): Promise<any> };
  /** Durable: a run that sleeps long gives its process back. */
  sleep(ms: number): Promise<void>;
}

interface FastnOptions {
  /** By connector, as it is called in code: which of the customer's connections to use. */
  connectors?: Record<string, { connection?: string; [name: string]: unknown }>;
}

interface FastnConstructor {
  new (options?: FastnOptions): FastnApi;
}

declare const fastn: FastnApi & { readonly Fastn: FastnConstructor };

/** Lines are kept with the execution. */
declare const console: {
  log(...values: unknown[]): void;
  info(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
  debug(...values: unknown[]): void;
  trace(...values: unknown[]): void;
  dir(value: unknown): void;
  table(value: unknown): void;
  assert(condition?: unknown, ...values: unknown[]): void;
  group(...values: unknown[]): void;
  groupCollapsed(...values: unknown[]): void;
  groupEnd(): void;
};

declare function setTimeout(callback: (...args: any[]) => void, ms?: number, ...args: unknown[]): number;
declare function setInterval(callback: (...args: any[]) => void, ms?: number, ...args: unknown[]): number;
declare function clearTimeout(id?: number): void;
declare function clearInterval(id?: number): void;
declare function queueMicrotask(callback: () => void): void;
declare function structuredClone<T>(value: T): T;
declare function atob(text: string): string;
declare function btoa(text: string): string;

declare const performance: { now(): number; readonly timeOrigin: number };
declare const crypto: {
  randomUUID(): string;
  getRandomValues<T extends ArrayBufferView>(array: T): T;
};

declare class TextEncoder {
  readonly encoding: "utf-8";
  encode(text?: string): Uint8Array;
  encodeInto(text: string, target: Uint8Array): { read: number; written: number };
}

declare class TextDecoder {
  constructor(label?: "utf-8" | "utf8", options?: { fatal?: boolean; ignoreBOM?: boolean });
  readonly encoding: "utf-8";
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
  decode(bytes?: ArrayBuffer | ArrayBufferView, options?: { stream?: boolean }): string;
}

declare class URL {
  constructor(url: string | URL, base?: string | URL);
  static canParse(url: string, base?: string): boolean;
  static parse(url: string, base?: string): URL | null;
  href: string;
  readonly origin: string;
  protocol: string;
  username: string;
  password: string;
  host: string;
  hostname: string;
  port: string;
  pathname: string;
  search: string;
  hash: string;
  readonly searchParams: URLSearchParams;
  toString(): string;
  toJSON(): string;
}

declare class URLSearchParams {
  constructor(init?: string | Record<string, string> | Iterable<[string, string]>);
  readonly size: number;
  append(name: string, value: string): void;
  delete(name: string, value?: string): void;
  get(name: string): string | null;
  getAll(name: string): string[];
  has(name: string, value?: string): boolean;
  set(name: string, value: string): void;
  sort(): void;
  forEach(callback: (value: string, name: string, parent: URLSearchParams) => void): void;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  entries(): IterableIterator<[string, string]>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
  toString(): string;
}

declare module "@fastn/sdk" {
  export const Fastn: FastnConstructor;
  export const fastn: FastnApi;
  export default Fastn;
}

declare module "@fastn/workflow" {
  export const Fastn: FastnConstructor;
  export const fastn: FastnApi;
  export default Fastn;

  interface StepResult {
    readonly status: "completed" | "failed";
    readonly output: any;
    readonly error: { name: string; message: string } | null;
  }

  interface StepContext<Input = any> extends FastnContext<Input> {
    /** The same as `input`. */
    readonly trigger: Input;
    /** What ran before, by name. */
    readonly steps: Readonly<Record<string, StepResult>>;
    /** Inside a loop: the element, and its position from 0. */
    readonly item?: any;
    readonly index?: number;
  }

  type Operator =
    | "equals" | "not_equals" | "greater_than" | "at_least" | "less_than" | "at_most"
    | "contains" | "in" | "starts_with" | "ends_with" | "exists" | "is_empty";
  type Condition =
    | { left: unknown; operator: Operator; right?: unknown }
    | { all: Condition[] }
    | { any: Condition[] }
    | { not: Condition };

  interface Retry {
    /** Attempts in all; 3 unless given. A call the vendor refused is not repeated. */
    maxAttempts?: number;
    /** 5000 unless given; each further wait is `backoffCoefficient` (2) times as long, up to 60000. */
    initialIntervalMs?: number;
    backoffCoefficient?: number;
    maxIntervalMs?: number;
  }
  interface Config {
    onError?: "halt" | "continue";
    retry?: Retry;
  }
  interface StepBase {
    /** Steps of the same list that run before. */
    dependsOn?: string[];
    onError?: "halt" | "continue";
  }
  interface ActionStep extends StepBase {
    type?: "action";
    retry?: Retry;
    handler(ctx: StepContext): unknown;
  }
  interface WaitStep extends StepBase {
    type: "wait";
    durationMs?: number | string;
    /** An instant (RFC 3339), or a template of one. */
    until?: string;
  }
  interface GateStep extends StepBase {
    type: "gate";
    /** The first case that holds is taken. */
    cases: { name?: string; when: Condition | ((ctx: StepContext) => unknown); steps?: Step[] }[];
    otherwise?: Step[];
  }
  interface LoopStep extends StepBase {
    type: "loop";
    over: unknown[] | string | ((ctx: StepContext) => unknown[]);
    steps: Step[];
  }
  interface Step {
    readonly name: string;
    readonly type: "action" | "wait" | "gate" | "loop";
  }

  export function step(name: string, options: ActionStep | WaitStep | GateStep | LoopStep): Step;
  export function workflow(
    name: string,
    options: {
      trigger?: Record<string, unknown>;
      steps: Step[];
      config?: Config;
      /** A template or a function; what the last step returned unless given. */
      output?: unknown | ((ctx: StepContext) => unknown);
    },
  ): ((ctx: FastnContext) => Promise<any>) & { readonly definition: object };
  export function defineConfig(config: Config): Readonly<Config>;
  /** The template with its references looked up: `fill(ctx, { to: "{{input.email}}" })`. */
  export function fill(ctx: StepContext, template: unknown): any;
  export function check(ctx: StepContext, condition: Condition): boolean;

  type Computation = "count" | "sum" | "average" | "min" | "max" | "first" | "last" | "collect";
  export const transform: {
    filter(ctx: StepContext, options: { items: unknown; where: Condition }): any[];
    limit(ctx: StepContext, options: { items: unknown; count: number; offset?: number }): any[];
    split(ctx: StepContext, options: { items: unknown; size: number }): any[][];
    aggregate(
      ctx: StepContext,
      options: { items: unknown; compute: Record<string, { operation: Computation; field?: string }>; groupBy?: string },
    ): any;
    merge(ctx: StepContext, options: { sources: unknown[]; key?: string }): any;
    map(ctx: StepContext, options: { items?: unknown; mapping: Record<string, unknown> }): any;
  };
}
