# zsh -f offers.zsh FOLDER LINE: what zsh offers behind LINE, one a line, with FOLDER/_oomd.
# It completes at a terminal only, so it gets one; compadd, which every offer goes through, prints.
zmodload zsh/zpty
zpty shell zsh -f -i
ask() { zpty -w shell $1 }
ask "PS1='' PROMPT_EOL_MARK=''; unset zle_bracketed_paste; fpath=(${(q)1} \$fpath)"
ask 'autoload -U compinit; compinit -D -u; autoload -U _oomd; compdef _oomd oomd'
# With -O, -A or -D it only fills arrays for its caller.
ask 'compadd() {
    if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
        local -a offers; builtin compadd -A offers "$@"; print -lr -- OFFER:$^offers
    fi
    builtin compadd "$@"
}'
ask 'at-end() { print THE-END }; comppostfuncs=(at-end); bindkey "^I" complete-word; print READ"Y"'
zpty -r -m shell out '*READY*'
zpty -w -n shell "$2"$'\t'
zpty -r -m shell out '*THE-END*'
for line in ${(f)${out//$'\r'/}}; do
    [[ $line == *OFFER:* ]] && print -r -- ${line##*OFFER:}
done
zpty -d shell
