# Completion for bash of {{.Command}}, which runs ssh on the server, such as
#
#	alias {{.Command}}='ssh -p 2222 repo.example.org'
#	source <({{.Command}} completion bash {{.Command}})
#
# It asks the server for the names of packages, once a minute at most.

# _{{.Func}}_names leaves the names in a variable of its own name.
_{{.Func}}_names() {
	local _ name
	((${_{{.Func}}_until:-0} > SECONDS)) && return
	_{{.Func}}_until=$((SECONDS + 60)) _{{.Func}}_list=
	while read -r _ name _; do
		[[ $name == *[!A-Za-z0-9@._+-]* ]] || _{{.Func}}_list+=" $name"
	done < <(eval '{{.Command}} list' </dev/null 2>/dev/null)
}

_{{.Func}}() {
	local word=${COMP_WORDS[COMP_CWORD]} flags= names=no
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W '{{.Verbs}}' -- "$word"))
		return
	fi
	case ${COMP_WORDS[1]} in
{{- range .Table}}
	{{.Name}}) flags='{{.Flags}}' names={{.Names}} ;;
{{- end}}
	esac
	case $names:$word in
	*:-*) COMPREPLY=($(compgen -W "$flags" -- "$word")) ;;
	package:*) _{{.Func}}_names; COMPREPLY=($(compgen -W "$_{{.Func}}_list" -- "$word")) ;;
	verb:*) COMPREPLY=($(compgen -W '{{.Verbs}}' -- "$word")) ;;
	file:*) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -G "$word*.pkg.tar*") ;;
	esac
}

complete -F _{{.Func}} {{.Command}}
