"""Completion for bash, zsh and fish: the scripts, and the answers that they ask us for.

A script calls the program itself with the words typed so far and ``_PRAGMA_COMPLETE=SHELL`` set; the answer is one
candidate a line, for zsh and fish with a tab and its meaning. What cannot be found out completes to nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from pragma_boot.cli.args import COMMON
from pragma_boot.cli.command import Command, Group
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import FileName, Value
from pragma_boot.errors import PragmaError

Candidate = tuple[str, str]
"""A whole word, and what it means."""

SCRIPTS = {
    "bash": """\
# pragma_boot completion for bash: add  eval "$(pragma completion bash)"  to ~/.bashrc
_pragma() {
    local line="${COMP_LINE:0:COMP_POINT}" words IFS=$' \\t'
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    local current="${words[${#words[@]}-1]}" prefix="" answer
    # bash takes '=' and ':' for ends of words and wants only what follows
    [[ "$current" == *[=:]* && "$COMP_WORDBREAKS" == *=* ]] && prefix="${current%"${current##*[=:]}"}"
    COMPREPLY=()
    while IFS= read -r answer; do
        [[ -n "$answer" ]] && COMPREPLY+=("${answer#"$prefix"}")
    done < <(_PRAGMA_COMPLETE=bash "${words[0]}" "${words[@]:1}" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[=/] ]] && compopt -o nospace
}
complete -F _pragma pragma
""",
    "zsh": """\
#compdef pragma
# pragma_boot completion for zsh: add  eval "$(pragma completion zsh)"  to ~/.zshrc, after compinit
_pragma() {
    local line
    local -a whole wholetexts open opentexts
    for line in "${(@f)$(_PRAGMA_COMPLETE=zsh "${words[1]}" "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -z "$line" ]] && continue
        if [[ "${line%%$'\\t'*}" == *[=/] ]]; then
            open+=("${line%%$'\\t'*}") opentexts+=("${line/$'\\t'/  }")
        else
            whole+=("${line%%$'\\t'*}") wholetexts+=("${line/$'\\t'/  }")
        fi
    done
    (( $#whole )) && compadd -Q -l -d wholetexts -a whole
    (( $#open )) && compadd -Q -l -S '' -d opentexts -a open
}
compdef _pragma pragma
""",
    "fish": """\
# pragma_boot completion for fish: pragma completion fish > ~/.config/fish/completions/pragma.fish
function __pragma_complete
    set -l words (commandline -opc) (commandline -ct)
    _PRAGMA_COMPLETE=fish $words[1] $words[2..-1] 2>/dev/null
end
complete -c pragma -f -a '(__pragma_complete)'
""",
}


def answer(root: Group, session: Session, words: Sequence[str], shell: str) -> str:
    """The candidates for the last of *words* (which may be empty), a line each. Never raises PragmaError."""
    *before, current = words or [""]
    found = [pair for pair in candidates(root, session, before, current) if pair[0].startswith(current)]
    if shell == "bash":
        return "".join(f"{word}\n" for word, _ in found)
    return "".join(f"{word}\t{meaning}\n" for word, meaning in found)


def candidates(root: Group, session: Session, before: Sequence[str], current: str) -> list[Candidate]:
    """Every word that may stand after *before*."""
    place: Command | Group = root
    rest = list(before)
    helping = rest[:1] == ["help"]
    rest = rest[1:] if helping else rest
    while rest and isinstance(place, Group):
        member = place.get_command(None, rest.pop(0))
        if not isinstance(member, Command | Group):
            return []
        place = member
    if isinstance(place, Group):
        return list(_commands(place))
    return [] if helping or "--" in rest else list(_words(place, session, rest, current))


def _commands(group: Group) -> Iterator[Candidate]:
    for word in group.list_commands():
        member = group.get_command(None, word)
        yield word, member.summary if isinstance(member, Command) else "more words follow"


def _words(command: Command, session: Session, before: list[str], current: str) -> Iterator[Candidate]:
    rows = {row.label: row for row in [*command.parameters, *COMMON]}
    name, mark, typed = current.removeprefix("--").partition("=")
    if mark and name in rows:
        prefix = current[: len(current) - len(typed)]
        yield from ((f"{prefix}{value}", rows[name].text) for value in _values(rows[name].value, session, typed))
        return
    if before and before[-1].startswith("--") and (row := rows.get(before[-1][2:])) and row.value.bare is None:
        yield from ((value, row.text) for value in _values(row.value, session, current))
        return
    given = {word.removeprefix("--").partition("=")[0] for word in before if "=" in word or word.startswith("--")}
    plain = [word for word in before if "=" not in word and not word.startswith("-")]
    for place in command.positionals[len(plain) : len(plain) + 1]:
        yield from ((value, place.text) for value in _values(place.value, session, current))
    dashes = "--" if current.startswith("--") else ""
    yield from ((f"{dashes}{label}=", row.text) for label, row in rows.items() if label not in given)


def _values(value: Value, session: Session, typed: str) -> Iterable[str]:
    if isinstance(value, FileName):
        return list(_files(typed))
    try:
        return list(value.choices(session))
    except PragmaError:
        return []


def _files(typed: str) -> Iterator[str]:
    folder, _, start = typed.rpartition("/")
    where = os.path.expanduser(f"{folder}/" if "/" in typed else ".")  # noqa: PTH111 - the typed spelling is kept
    try:
        entries = sorted(os.scandir(where), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
            yield (f"{folder}/" if "/" in typed else "") + entry.name + ("/" if entry.is_dir() else "")
