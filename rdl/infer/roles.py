"""Columns named after the part that someone or something plays: a manager, who created it, the parent of a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rdl.infer.words import KEY_WORDS, alike, stem, table_words, word_set, words
from rdl.schema import Column, Table

#: What a row says of another row of its own table.
_SELF = word_set(
    """
    ancestor copied duplicate forked leader manager mgr original parent predecessor previous prev prior referred
    referrer replied reply reports retweeted root successor superior supervisor
    """
)
#: Of those, what only a person has.
_OF_PEOPLE = word_set("leader manager mgr referred referrer reports superior supervisor")
#: What someone who works there does, and what anyone does.
_STAFF_ROLES = word_set(
    """
    agent approved approver assigned assignee clerk handled handler inspector leader manager mgr operator packed
    processed rep representative served supervisor support technician verified
    """
)
_ROLES = word_set(
    """
    added author buyer client closed commented created creator deleted edited editor followee follower followed friend
    host invited inviter liked member modified opened owned owner patient posted poster publisher receiver recipient
    reporter requested requester requestor resolved reviewed reviewer seller sender sent submitted submitter updated
    uploaded uploader voter written writer
    """
)
_STAFF = word_set("agent employee emp employe mitarbeiter personnel staff worker")
_PEOPLE = word_set("account benutzer member people person profile user utilisateur")
_OTHERS = word_set("artist author client contact customer doctor driver patient player student teacher")
#: Words that end the name of such a column where no ``id`` does.
_ENDS = word_set("by to from")


@dataclass(frozen=True, slots=True)
class Role:
    """The table that a role is played in, why, and whether that is not sure enough to be used."""

    parent: Table
    why: str
    suggested: bool


def role(table: Table, column: Column, parents: Sequence[Table]) -> Role | None:
    """Whom the part that ``column`` is named after is played by, of ``parents``; None where that is not clear."""
    named = words(column.name)
    root, is_key = stem(column.name)
    is_bare = len(named) == 1 and bool(set(named) & (_SELF | _ROLES | _STAFF_ROLES))
    if not (is_key or (len(named) > 1 and named[-1] in _ENDS) or is_bare):
        return None
    part = set(root) - _ENDS - KEY_WORDS
    staff, others = _named(parents, _STAFF), _named(parents, _PEOPLE)
    own = [parent for parent in parents if parent.name == table.name]
    outsiders = _named(own, _OTHERS) if not (staff and part & _STAFF_ROLES) else []  # of whom the manager is staff
    if own and part & _SELF and len(root) <= 2 and (own[0] in [*staff, *others, *outsiders] or not part & _OF_PEOPLE):
        said = f"named as what a row of {table.name} is to another"
        return Role(own[0], said, suggested=is_bare and root != ["parent"])
    for roles, groups in ((_STAFF_ROLES, (staff, others)), (_ROLES, (others, staff))):
        if part & roles:
            for group in groups:
                if group:
                    played = f"named as the part of someone, of whom {group[0].name} is the table"
                    return Role(group[0], played, suggested=is_bare) if len(group) == 1 else None
    return None


def _named(tables: Sequence[Table], names: frozenset[str]) -> list[Table]:
    """The tables that are named one of ``names``, whatever stands before it."""
    return [table for table in tables if any(alike(table_words(table.name)[-1:], [name]) for name in names)]
