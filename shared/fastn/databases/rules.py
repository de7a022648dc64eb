"""Which statements fastn.db runs, decided on the tree that PostgreSQL's own parser makes of them.

The boundary between tenants is the role a statement runs as: it owns one schema, has no rights elsewhere and
is a member of nothing. What is refused here is what that role could still do: change its session's limits,
run text as SQL past this check, talk to other sessions, or look up the names of other tenants' roles and
schemas in the catalogs. So the catalogs (pg_catalog, information_schema) cannot be read, and nothing is named
with a schema: a tenant has one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from fastn.databases.errors import QueryRejected, StatementRefused
from fastn.databases.models import DEFAULT_LIMITS

if TYPE_CHECKING:
    from pglast import ast

SQLSTATE_SYNTAX_ERROR = "42601"
_OWN_CATALOG = "pg_catalog"
_NO_SCHEMA = "Name your tables without a schema: each customer has one, per environment."
_KINDS = (
    "fastn.db runs SELECT, INSERT, UPDATE, DELETE, TRUNCATE, and CREATE, ALTER and DROP of tables, indexes and views."
)

_STATEMENTS = frozenset(
    {
        "SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "CreateStmt", "IndexStmt", "ViewStmt",
        "AlterTableStmt", "RenameStmt", "DropStmt", "TruncateStmt",
    }
)  # fmt: skip
_CHANGES_WITH_RESULT = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt"})
_DROPPED = frozenset({"OBJECT_TABLE", "OBJECT_INDEX", "OBJECT_VIEW"})
_RENAMED = frozenset({"OBJECT_TABLE", "OBJECT_INDEX", "OBJECT_VIEW", "OBJECT_COLUMN", "OBJECT_TABCONSTRAINT"})
_ALTERATIONS = frozenset(
    {
        "AT_AddColumn", "AT_ColumnDefault", "AT_DropNotNull", "AT_SetNotNull", "AT_DropColumn", "AT_AddConstraint",
        "AT_DropConstraint", "AT_ValidateConstraint", "AT_AlterColumnType", "AT_AddIdentity", "AT_SetIdentity",
        "AT_DropIdentity", "AT_DropExpression",
    }
)  # fmt: skip

# pg_: server files, other sessions, advisory locks, notifications, and names by oid. The rest likewise.
_HARMLESS_PG_FUNCTIONS = frozenset({"pg_typeof", "pg_sleep", "pg_size_pretty", "pg_column_size", "pg_input_is_valid"})
_NAMES_BY_OID = (
    "regclass", "regproc", "regoper", "regtype", "regrole", "regnamespace", "regconfig", "regdictionary",
    "regcollation", "regdatabase",
)  # fmt: skip
_REFUSED_FUNCTION_PREFIXES = (
    "pg_", "lo_", "dblink", "binary_upgrade_", "has_", "to_reg", "inet_client_", "inet_server_", "acl",
    *_NAMES_BY_OID,
)  # fmt: skip
_REFUSED_FUNCTIONS = frozenset(
    {
        "set_config", "current_setting",  # the session's limits
        "ts_stat", "ts_rewrite",  # run their argument as SQL, as the …to_xml functions do
        "loread", "lowrite",  # large objects belong to the whole database
        "current_schema", "current_schemas", "current_database", "current_user", "session_user", "current_role",
        "current_catalog", "user", "getpgusername", "makeaclitem", "format_type", "oidvectortypes",
        "row_security_active", "obj_description", "col_description", "shobj_description", "currtid2",
    }
)  # fmt: skip
_SESSION_NAMES = frozenset(
    f"SVFOP_{name}"
    for name in ("CURRENT_ROLE", "CURRENT_USER", "USER", "SESSION_USER", "CURRENT_CATALOG", "CURRENT_SCHEMA")
)


@dataclass(frozen=True, slots=True)
class CheckedStatement:
    """What a statement that may run is known to do."""

    returns_rows: bool


def check_statement(sql: str) -> CheckedStatement:
    """What the one statement in this text does.

    Raises QueryRejected (42601) if PostgreSQL's parser does not understand it, StatementRefused if it is not one
    statement, is of another kind than fastn.db runs, or names what a tenant has no business with.
    """
    statement = _only_statement(sql)
    for node in _nodes_of(statement):
        kind = type(node).__name__
        if kind.endswith("Stmt") and kind not in _STATEMENTS:
            raise StatementRefused(f"fastn.db does not run this kind of statement ({_told(kind)}).", _KINDS)
        check = _CHECKS.get(kind)
        if check is not None:
            check(node)
    return CheckedStatement(_returns_rows(statement))


def only_reads(sql: str) -> bool:
    """Whether the text is one statement that changes nothing; False for what would be refused."""
    if len(sql) > DEFAULT_LIMITS.sql_characters:
        return False
    try:
        statement = _only_statement(sql)
    except QueryRejected:
        return False
    return {kind for kind in (type(node).__name__ for node in _nodes_of(statement)) if kind.endswith("Stmt")} == {
        "SelectStmt"
    }


def _only_statement(sql: str) -> "ast.Node":
    # Imported here: 0.1 s of CPU, which only a run that uses fastn.db pays.
    from pglast.parser import ParseError, parse_sql

    try:
        statements = parse_sql(sql)
    except ParseError as error:
        raise QueryRejected(str(error.args[0]), sqlstate=SQLSTATE_SYNTAX_ERROR) from error
    if len(statements) != 1:
        raise StatementRefused(f"fastn.db runs one statement at a time, and this text has {len(statements)}.")
    return cast("ast.Node", statements[0].stmt)


def _nodes_of(root: "ast.Node") -> Iterator[Any]:  # pglast's classes share no attributes
    from pglast import ast

    pending: list[object] = [root]
    while pending:
        item = pending.pop()
        if isinstance(item, tuple):
            pending.extend(cast("tuple[object, ...]", item))
        elif isinstance(item, ast.Node):
            yield item
            pending.extend(getattr(item, name) for name in item)


def _returns_rows(statement: Any) -> bool:  # as _nodes_of
    kind = type(statement).__name__
    return kind == "SelectStmt" or (kind in _CHANGES_WITH_RESULT and statement.returningClause is not None)


def _check_relation(node: Any) -> None:  # as _nodes_of, here and below
    if node.schemaname is not None or node.catalogname is not None:
        raise StatementRefused("A table of another schema cannot be named.", _NO_SCHEMA)
    if node.relpersistence == "t":
        raise StatementRefused("fastn.db has no temporary tables.", "Each statement is a transaction of its own.")
    _check_own_name(node.relname)


def _check_own_name(name: str | None) -> None:
    if name is not None and name.lower().startswith("pg_"):
        raise StatementRefused(f"{name} is the server's own: names that begin with pg_ cannot be used.")


def _check_function(node: Any) -> None:
    name = _unqualified(node.funcname).lower()
    if name in _HARMLESS_PG_FUNCTIONS:
        return
    if name in _REFUSED_FUNCTIONS or name.startswith(_REFUSED_FUNCTION_PREFIXES) or "to_xml" in name:
        raise StatementRefused(f"The function {name} is not available in fastn.db.")


def _check_type(node: Any) -> None:
    if node.pct_type:
        raise StatementRefused("%TYPE is not available in fastn.db.", "Name the type itself.")
    if node.names:
        name = _unqualified(node.names).lower()
        if name.startswith((*_NAMES_BY_OID, "pg_", "aclitem")) and name != "pg_lsn":
            raise StatementRefused(f"The type {name} is not available in fastn.db.")


def _check_session_name(node: Any) -> None:
    if node.op.name in _SESSION_NAMES:
        raise StatementRefused("The names of role, schema and database are not available in fastn.db.")


def _check_drop(node: Any) -> None:
    if node.removeType.name not in _DROPPED:
        raise StatementRefused("fastn.db drops tables, indexes and views alone.")
    for path in node.objects:
        _check_own_name(_unqualified(path, own_catalog=False))
    _check_not_concurrent(node)


def _check_alter(node: Any) -> None:
    if node.objtype.name != "OBJECT_TABLE":
        raise StatementRefused("fastn.db alters tables alone.")


def _check_alteration(node: Any) -> None:
    if node.subtype.name not in _ALTERATIONS:
        raise StatementRefused("fastn.db alters the columns and constraints of a table alone.")


def _check_rename(node: Any) -> None:
    if node.renameType.name not in _RENAMED:
        raise StatementRefused("fastn.db renames tables, indexes, views, columns and constraints alone.")
    _check_own_name(node.newname)


def _check_not_concurrent(node: Any) -> None:
    if node.concurrent:
        raise StatementRefused("CONCURRENTLY is not available in fastn.db.", "Each statement runs in a transaction.")


def _refuse_into(_node: Any) -> None:
    raise StatementRefused("SELECT INTO is not available in fastn.db.", "Use CREATE TABLE and INSERT … SELECT.")


def _unqualified(path: Any, *, own_catalog: bool = True) -> str:
    *qualifiers, name = (str(part.sval) for part in path)
    if qualifiers and not (own_catalog and qualifiers == [_OWN_CATALOG]):
        raise StatementRefused("Nothing of another schema can be named.", _NO_SCHEMA)
    return name


def _told(kind: str) -> str:
    return kind.removesuffix("Stmt").upper()


_CHECKS: Mapping[str, Callable[[Any], None]] = {
    "RangeVar": _check_relation,
    "FuncCall": _check_function,
    "TypeName": _check_type,
    "SQLValueFunction": _check_session_name,
    "DropStmt": _check_drop,
    "AlterTableStmt": _check_alter,
    "AlterTableCmd": _check_alteration,
    "RenameStmt": _check_rename,
    "IndexStmt": _check_not_concurrent,
    "IntoClause": _refuse_into,
}
