#compdef {{.Command}}
# Completion for zsh of {{.Command}}, which runs ssh on the server, such as
#
#	alias {{.Command}}='ssh -p 2222 repo.example.org'
#	source <({{.Command}} completion zsh {{.Command}})
#
# It asks the server for the names of packages, once a minute at most.

# _{{.Func}}_names leaves the names in an array of its own name.
_{{.Func}}_names() {
	local _ name
	((${_{{.Func}}_until:-0} > SECONDS)) && return
	typeset -g _{{.Func}}_until=$((SECONDS + 60))
	typeset -ga _{{.Func}}_list=()
	while read -r _ name _; do
		[[ $name == *[^A-Za-z0-9@._+-]* ]] || _{{.Func}}_list+=("$name")
	done < <(eval '{{.Command}} list' </dev/null 2>/dev/null)
}

_{{.Func}}() {
	local -a verbs flags
	local names=no
	verbs=(
{{- range .Table}}
		{{quote (printf "%s:%s" .Name .Help)}}
{{- end}}
	)
	if ((CURRENT == 2)); then
		_describe verb verbs
		return
	fi
	case $words[2] in
{{- range .Table}}
	{{.Name}}) flags=({{.Flags}}) names={{.Names}} ;;
{{- end}}
	esac
	case $names:$PREFIX in
	*:-*) compadd -- $flags ;;
	package:*) _{{.Func}}_names; compadd -- $_{{.Func}}_list ;;
	verb:*) _describe verb verbs ;;
	file:*) _files -g '*.pkg.tar*' ;;
	esac
}

if [[ $funcstack[1] == _{{.Func}} ]]; then
	_{{.Func}} "$@" # loaded from a file in fpath
else
	autoload -Uz compinit && (($+functions[compdef])) || compinit
	compdef _{{.Func}} {{.Command}}
fi
