"""Images of waiting runs: what they hold, who may resume them, how large they are."""

# ruff: noqa: E501 (programs are quoted on one line, as they are given to the engine)

from dataclasses import replace

import pytest

from fastn.engine.artifacts import GUEST, EngineArtifacts, wasm_bytes
from fastn.engine.errors import EngineBuildMismatch, RunImageUnusable, RunNotWaiting
from fastn.engine.images import MAGIC, PAGE_BYTES, RunImage, changed_blocks
from fastn.engine.languages import Language
from fastn.engine.models import (
    BuildId,
    CallId,
    Completed,
    EngineFault,
    Failed,
    HostCall,
    JsonText,
    Limits,
    MemoryImage,
    Program,
    Settled,
    Waiting,
)
from fastn.engine.runs import JavaScriptEngine, Run
from tests.unit.engine.driving import run_input
from tests.unit.engine.wasm_reading import CODE_SECTION, TABLE_WRITES, opcodes_of, sections_of

TWO_CALLS = "await fastn.connector.slack.post({n: 1}); return await fastn.connector.slack.post({n: 2})"


def compiled(engine: JavaScriptEngine, body: str) -> Program:
    return engine.compile(f"export default async function (ctx) {{ {body} }}", Language.JAVASCRIPT)


def waiting(engine: JavaScriptEngine, program: Program, limits: Limits | None = None) -> Run:
    run = engine.start(program, run_input(), limits)
    assert isinstance(run.advance(), Waiting)
    return run


def settle_all(run: Run, value: str = "null") -> None:
    for call in run.pending_calls:
        run.settle(call.call_id, Settled.ok(value))


# -- going on ---------------------------------------------------------------------------------------
def test_a_resumed_run_tells_what_it_waits_for_and_hands_no_call_out_twice(engine: JavaScriptEngine) -> None:
    program = compiled(engine, "const t = setTimeout(() => {}, 9); await fastn.sleep(5); clearTimeout(t)")
    first = waiting(engine, program)

    resumed = engine.resume(program, first.snapshot())

    assert resumed.pending_calls == (
        HostCall(CallId(1), "timer", JsonText('{"ms":9}')),
        HostCall(CallId(2), "sleep", JsonText('{"ms":5}')),
    )
    assert resumed.advance() == Waiting(())
    resumed.settle(CallId(2), Settled.ok("null"))
    assert resumed.advance() == Completed(JsonText("null"))


def test_a_call_settled_before_the_snapshot_moves_the_resumed_run(engine: JavaScriptEngine) -> None:
    program = compiled(engine, TWO_CALLS)
    run = waiting(engine, program)
    settle_all(run)

    state = engine.resume(program, run.snapshot()).advance()

    assert state == Waiting((HostCall(CallId(2), "connector.slack.post", JsonText('{"args":{"n":2}}')),))


def test_a_call_made_by_a_timers_callback_is_handed_out_by_the_resumed_run(engine: JavaScriptEngine) -> None:
    program = compiled(engine, "return await new Promise(done => setTimeout(() => fastn.sleep(3).then(done), 1))")
    run = waiting(engine, program)
    settle_all(run)

    resumed = engine.resume(program, run.snapshot())

    assert resumed.advance() == Waiting((HostCall(CallId(2), "sleep", JsonText('{"ms":3}')),))
    assert resumed.advance() == Waiting(())


def test_a_run_that_returned_beside_its_last_call_still_returns(engine: JavaScriptEngine) -> None:
    program = compiled(engine, "fastn.connector.slack.post({}); console.log('said'); return 'done'")
    run = waiting(engine, program)

    resumed = engine.resume(program, run.snapshot())

    assert resumed.advance() == Completed(JsonText('"done"'))
    assert [line.text for line in resumed.console] == ["said"]


def test_a_run_that_threw_beside_its_last_call_still_fails(engine: JavaScriptEngine) -> None:
    program = compiled(engine, "fastn.connector.slack.post({}); throw new RangeError('no')")
    run = waiting(engine, program)

    state = engine.resume(program, run.snapshot()).advance()

    assert isinstance(state, Failed)
    assert (state.error.name, state.error.message, state.error.line) == ("RangeError", "no", 1)


def test_taking_a_snapshot_leaves_the_run_as_it_was_and_an_image_can_be_resumed_again(
    engine: JavaScriptEngine,
) -> None:
    program = compiled(engine, "return [await fastn.sleep(1), Math.random()]")
    run = waiting(engine, program)
    image = run.snapshot()

    ends: list[object] = []
    for one in (run, engine.resume(program, image), engine.resume(program, image)):
        settle_all(one, "1")
        ends.append(one.advance())

    assert isinstance(ends[0], Completed)
    assert ends[1:] == ends[:1] * 2


def test_two_runs_of_the_same_past_have_the_same_memory(engine: JavaScriptEngine) -> None:
    program = compiled(engine, "const m = new Map(); for (;;) m.set({}, await fastn.sleep(m.size))")

    images: list[MemoryImage] = []
    for detour in (False, True):
        run = waiting(engine, program)
        for step in range(20):
            settle_all(run, str(step))
            run.advance()
            run = engine.resume(program, run.snapshot()) if detour else run
        images.append(run.snapshot().memory)

    assert images[0] == images[1]


def test_a_typescript_run_still_points_at_its_source_line(engine: JavaScriptEngine) -> None:
    source = (
        "interface A { n: number }\nexport default async () => {\n  await fastn.sleep(1);\n  throw new Error('x');\n}"
    )
    program = engine.compile(source, Language.TYPESCRIPT)
    resumed = engine.resume(program, waiting(engine, program).snapshot())
    settle_all(resumed)

    state = resumed.advance()

    assert isinstance(state, Failed)
    assert (state.error.message, state.error.line) == ("x", 4)


# -- limits -----------------------------------------------------------------------------------------
def end_in_stages(engine: JavaScriptEngine, body: str, limits: Limits) -> Failed:
    """How the run fails when it is taken up in another instance at each wait."""
    program = compiled(engine, body)
    run = engine.start(program, run_input(), replace(limits, max_host_calls=min(limits.max_host_calls, 200)))
    while isinstance(state := run.advance(), Waiting):
        image = RunImage.from_bytes(run.snapshot().to_bytes())
        run.close()
        run = engine.resume(program, image)
        settle_all(run)
    assert isinstance(state, Failed)
    return state


@pytest.mark.parametrize(
    ("body", "limits", "fault"),
    [
        ("for (;;) await fastn.sleep(1)", Limits(max_host_calls=8), EngineFault.CALL_LIMIT),
        ("for (;;) { console.log('x'.repeat(99)); await fastn.sleep(1) }", Limits(console_bytes=500), EngineFault.OUTPUT_LIMIT),
        ("for (;;) { for (let i = 0; i < 2e4; i++); await fastn.sleep(1) }", Limits(cpu_ms=40), EngineFault.TIME_LIMIT),
        ("const all = []; for (;;) { all.push(new Uint8Array(4e6)); await fastn.sleep(1) }", Limits(memory_bytes=16 << 20), EngineFault.MEMORY_LIMIT),
        ("await fastn.sleep(1); return 'x'.repeat(50)", Limits(result_bytes=20), EngineFault.OUTPUT_LIMIT),
    ],
)  # fmt: skip
def test_what_a_run_has_used_up_stays_used_up(
    engine: JavaScriptEngine, body: str, limits: Limits, fault: EngineFault
) -> None:
    assert end_in_stages(engine, body, limits).error.fault is fault


def test_wall_time_goes_on_with_what_was_left_unless_it_is_given(engine: JavaScriptEngine) -> None:
    program = compiled(engine, TWO_CALLS)
    image = waiting(engine, program, Limits(wall_ms=50_000)).snapshot()

    spent = engine.resume(program, image, wall_ms=0).advance()

    assert 40_000 < image.wall_left_ms <= 50_000
    assert isinstance(spent, Failed)
    assert spent.error.fault is EngineFault.TIME_LIMIT
    assert isinstance(engine.resume(program, replace(image, wall_left_ms=0), wall_ms=10_000).advance(), Waiting)


# -- refusals ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("moment", ["not advanced", "over", "closed"])
def test_only_a_waiting_run_has_an_image(engine: JavaScriptEngine, moment: str) -> None:
    run = engine.start(compiled(engine, "return 1" if moment == "over" else TWO_CALLS), run_input())
    if moment != "not advanced":
        run.advance()
    if moment == "closed":
        run.close()

    with pytest.raises(RunNotWaiting):
        run.snapshot()


@pytest.mark.parametrize("other", [{"build_id": BuildId("0" * 64)}, {"prelude_sha256": "0" * 64}])
def test_an_image_of_another_build_is_refused(engine: JavaScriptEngine, other: dict[str, str]) -> None:
    program = compiled(engine, TWO_CALLS)
    image = waiting(engine, program).snapshot()

    with pytest.raises(EngineBuildMismatch):
        engine.resume(program, replace(image, **other))  # pyright: ignore[reportArgumentType]  # both are texts


def test_an_image_of_another_program_is_refused(engine: JavaScriptEngine) -> None:
    image = waiting(engine, compiled(engine, TWO_CALLS)).snapshot()

    with pytest.raises(RunImageUnusable):
        engine.resume(compiled(engine, TWO_CALLS + " "), image)


@pytest.mark.parametrize(
    "memory",
    [MemoryImage(1 << 31, 1 << 20, ()), MemoryImage(1 << 20, 1 << 20, ((1 << 30, b"x"),))],
)
def test_an_image_that_does_not_fit_the_runs_memory_is_refused(engine: JavaScriptEngine, memory: MemoryImage) -> None:
    program = compiled(engine, TWO_CALLS)
    image = waiting(engine, program).snapshot()

    with pytest.raises(RunImageUnusable):
        engine.resume(program, replace(image, memory=memory))


# -- bytes ------------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def image(engine: JavaScriptEngine) -> RunImage:
    program = compiled(engine, "console.warn('é\\ud800'); fastn.sleep(1); await fastn.connector.slack.post('ü')")
    return waiting(engine, program).snapshot()


def test_an_image_survives_its_bytes_and_equal_images_have_equal_bytes(image: RunImage) -> None:
    stored = image.to_bytes()

    assert RunImage.from_bytes(stored) == image
    assert RunImage.from_bytes(stored).to_bytes() == stored


def test_bytes_that_are_no_image_of_this_version_are_refused(image: RunImage) -> None:
    stored = image.to_bytes()
    other_version = stored[: len(MAGIC) - 1] + b"\x02" + stored[len(MAGIC) :]

    for damaged in (b"", MAGIC, other_version, stored[:-1], stored[: len(stored) // 2], MAGIC + stored):
        with pytest.raises(RunImageUnusable):
            RunImage.from_bytes(damaged)


def test_changed_blocks_restore_every_difference_and_hold_little_else() -> None:
    before = bytes(2 * PAGE_BYTES)
    after = bytearray(before + bytes(PAGE_BYTES))
    for offset in (0, 255, 256, PAGE_BYTES - 1, PAGE_BYTES, len(after) - 1):
        after[offset] = 7

    chunks = changed_blocks(before, bytes(after), first_offset=1000)

    restored = bytearray(len(after))
    for offset, content in chunks:
        restored[offset - 1000 : offset - 1000 + len(content)] = content
    assert restored == after
    assert sum(len(content) for _, content in chunks) == 5 * 256
    assert changed_blocks(before, before) == ()


def test_a_parked_run_is_small_and_does_not_grow_with_the_calls_it_has_made(engine: JavaScriptEngine) -> None:
    body = "let n = 0; for (;;) n += (await fastn.connector.shop.getOrder({n, note: 'order ' + n})).total"
    program = compiled(engine, body)
    run = waiting(engine, program)
    sizes: list[tuple[int, int]] = []

    for step in range(2_001):
        if step % 500 == 10:
            sizes.append((len(run.snapshot().to_bytes()), run.snapshot().memory.size_bytes))
        settle_all(run, '{"total": 1}')
        run.advance()

    parked, memory = zip(*sizes, strict=True)
    assert max(parked) < 50 * 1024
    assert max(parked) - min(parked) < 1024
    assert len(set(memory)) == 1


# -- nothing of a guest lies outside its memory ----------------------------------------------------------
I32, FUNCREF = 0x7F, 0x70
TABLE, GLOBAL, ELEMENT = 4, 6, 9


def test_the_guests_only_mutable_global_is_the_stack_pointer_and_nothing_changes_its_table(
    artifacts: EngineArtifacts,
) -> None:
    sections = sections_of(wasm_bytes(GUEST))
    exported = {export.name for export in artifacts.guest.exports}

    assert tuple(sections[GLOBAL][:3]) == (1, I32, True)
    assert {"memory", "__stack_pointer"} <= exported
    assert tuple(sections[TABLE][:2]) == (1, FUNCREF)
    assert TABLE_WRITES.isdisjoint(opcodes_of(sections[CODE_SECTION]))
