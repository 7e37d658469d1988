"""What completes the commands in a shell.

In: a shell. Out: its script. The one rule: every command, option and value is the parser's own, so none is forgotten.

    eval "$(indexlang completion bash)"         in ~/.bashrc
    eval "$(indexlang completion zsh)"          in ~/.zshrc, after compinit
    indexlang completion fish | source          in ~/.config/fish/config.fish
"""

from __future__ import annotations

from .arguments import COMMANDS, Word, words

Table = dict[str, tuple[Word, ...]]


def script(shell: str) -> str:
    """The script for bash, zsh or fish."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](words())


def _bash(table: Table) -> str:
    values, options = [], []
    for command, taken in table.items():
        flags = [flag for word in taken for flag in word.flags]
        free = [choice for word in taken if not word.flags for choice in word.choices]
        options.append(f'        {command}) words="{" ".join((*flags, *free))}" ;;')
        for word in taken:
            if word.flags and word.choices:
                pattern = "|".join(f'"{command} {flag}"' for flag in word.flags)
                values.append(f'        {pattern}) words="{" ".join(word.choices)}" ;;')
    return f"""\
_indexlang() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} words=
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{" ".join(table)} --help --version" -- "$current"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
{_lines(options)}
    esac
    case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD - 1]}}" in
{_lines(values)}
        *) [[ $current == -* || ${{COMP_WORDS[1]}} == completion ]] || words= ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _indexlang indexlang
"""


def _zsh(table: Table) -> str:
    commands = [f"        {_quoted(f'{name}:{COMMANDS[name][0]}')}" for name in table]
    cases = []
    for command, taken in table.items():
        specs = [_quoted(spec) for word in taken for spec in _specs(word)]
        cases.append(f"        {command}) _arguments -s {' '.join(specs)} ;;")
    return f"""\
#compdef indexlang
_indexlang() {{
    local -a commands
    commands=(
{_lines(commands)}
    )
    if ((CURRENT == 2)); then
        _describe command commands
        return
    fi
    shift words
    ((CURRENT--))
    case $words[1] in
{_lines(cases)}
    esac
}}
if [ "$funcstack[1]" = _indexlang ]; then
    _indexlang "$@"
else
    compdef _indexlang indexlang
fi
"""


def _specs(word: Word) -> list[str]:
    """An option as `_arguments` of zsh reads it: once for each spelling, and it may come again."""
    text = _escaped(word.text, ":[]")
    behind = ""
    if word.value is not None:
        action = f"({' '.join(word.choices)})" if word.choices else "_files"
        behind = f":{_escaped(word.value, ':[]')}:{action}"
    return [f"*{flag}[{text}]{behind}" for flag in word.flags] or [f"*{behind}"]


def _fish(table: Table) -> str:
    lines = []
    for command, taken in table.items():
        lines.append(
            f"complete -c indexlang -f -n __fish_use_subcommand -a {command} -d {_quoted(COMMANDS[command][0])}"
        )
        seen = f"complete -c indexlang -n '__fish_seen_subcommand_from {command}'"
        for word in taken:
            names = [f"-l {f[2:]}" if f.startswith("--") else f"-s {f[1:]}" for f in word.flags]
            how = "" if word.value is None else " -r" if not word.choices else " -x" if names else " -f"
            choices = f" -a {_quoted(' '.join(word.choices))}" if word.choices else ""
            if names or choices:
                lines.append(f"{' '.join((seen, *names))}{how}{choices} -d {_quoted(word.text)}")
    return _lines(lines) + "\n"


def _lines(lines: list[str]) -> str:
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A word in single quotes, in which no shell reads anything."""
    return "'" + text.replace("'", "'\\''") + "'"


def _escaped(text: str, characters: str) -> str:
    return "".join(f"\\{c}" if c in characters else c for c in text)
