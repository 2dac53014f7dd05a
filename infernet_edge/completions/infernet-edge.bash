# bash completion of infernet-edge; made by tests/support/completion.py; used as `infernet-edge completion` says

_infernet_edge() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
    local place= words= value= word next number
    COMPREPLY=()
    for ((number = 1; number < COMP_CWORD; number++)); do
        word=${COMP_WORDS[number]}
        case $word in
        --before|--cacert|--client|--config|--container|--deadline|--expires|--file|--find|--folder|--format|--host|--id|--idempotency-key|--image|--limit|--lines|--model|--model-key|--model-name|--name|--old-password-file|--output|--password-file|--podman-url|--port|--priority|--protocol|--recipe|--scope|--set|--set-file|--sha256|--spender|--state|--tail|--timeout|--token|--token-file|--trial|--types|--url|--wait|-n)
            number=$((number + 1))
            continue ;;
        esac
        next="$place${place:+ }$word"
        case $next in
        demo|init|add-service|remove-service|check|run|service|"service install"|"service uninstall"|"service status"|"service logs"|"service upgrade"|"service rollback"|"service unpack"|submit|stream|wait|cancel|status|discover|containers|logs|jobs|events|doctor|token|"token new"|"token list"|"token revoke"|reload|backup|restore|export|wallet|"wallet new"|"wallet import"|"wallet show"|"wallet register"|"wallet activate"|"wallet pay"|"wallet pay create"|"wallet pay show"|"wallet pay approve"|"wallet pay withdraw"|help|completion|version) place=$next ;;
        esac
    done
    case $place in
        "") words='demo init add-service remove-service check run service submit stream wait cancel status discover containers logs jobs events doctor token reload backup restore export wallet help completion version -h --help --version' value='' ;;
        demo) words='-h --help --once --port --host --image --model --model-name --model-key --podman-url --no-podman --keep' value='' ;;
        init) words='-h --help --output --format --host --port --image --url --id --recipe --set --set-file --token --no-token --yes --defaults --force --json' value='' ;;
        add-service) words='-h --help --config --id --protocol --set --set-file --yes --defaults --json' value=file ;;
        remove-service) words='-h --help --config --json' value=container ;;
        check) words='-h --help --config --strict --json' value='' ;;
        run) words='-h --help --config --verbose' value='' ;;
        service) words='install uninstall status logs upgrade rollback unpack -h --help' value='' ;;
        "service install") words='-h --help --dry-run --config --rootless --rootful --json' value='' ;;
        "service uninstall") words='-h --help --dry-run --purge --json' value='' ;;
        "service status") words='-h --help --json' value='' ;;
        "service logs") words='-h --help --json -f --follow -n --lines' value='' ;;
        "service upgrade") words='-h --help --json --sha256 --timeout --trial' value=file ;;
        "service rollback") words='-h --help --json --timeout --trial' value='' ;;
        "service unpack") words='-h --help --json' value=file ;;
        submit) words='-h --help --file --wait --priority --deadline --timeout --idempotency-key --config --url --token-file --cacert --json' value=container ;;
        stream) words='-h --help --file --config --url --token-file --cacert --json' value=container ;;
        wait) words='-h --help --timeout --config --url --token-file --cacert --json' value=any ;;
        cancel) words='-h --help --config --url --token-file --cacert --json' value=any ;;
        status) words='-h --help --config --url --token-file --cacert --json' value='' ;;
        discover) words='-h --help --timeout --json' value='' ;;
        containers) words='-h --help --config --url --token-file --cacert --json' value='restart pull' ;;
        logs) words='-h --help -f --follow --tail --times --config --url --token-file --cacert --json' value=container ;;
        jobs) words='-h --help --limit --state --container --client --find --before --onchain --skipped --config --url --token-file --cacert --json' value=any ;;
        events) words='-h --help -f --follow --types --tail --config --url --token-file --cacert --json' value='' ;;
        doctor) words='-h --help --config --json' value='' ;;
        token) words='new list revoke -h --help' value='' ;;
        "token new") words='-h --help --scope --expires --keep-jobs --replace-damaged --config --json' value=any ;;
        "token list") words='-h --help --config --json' value='' ;;
        "token revoke") words='-h --help --yes --config --json' value=any ;;
        reload) words='-h --help --config --url --token-file --cacert --json' value='' ;;
        backup) words='-h --help --with-secrets --force --json --config' value=file ;;
        restore) words='-h --help --dry-run --json --config' value=file ;;
        export) words='-h --help --config --name --image --show-env --folder --force --json' value='kube quadlet' ;;
        wallet) words='new import show register activate pay -h --help' value='' ;;
        "wallet new") words='-h --help --config --output --password-file --plain --json' value='' ;;
        "wallet import") words='-h --help --config --output --password-file --plain --json --file --old-password-file' value='' ;;
        "wallet show") words='-h --help --config --json' value='' ;;
        "wallet register") words='-h --help --config --json' value='' ;;
        "wallet activate") words='-h --help --config --json' value='' ;;
        "wallet pay") words='create show approve withdraw -h --help' value='' ;;
        "wallet pay create") words='-h --help --config --json --another' value='' ;;
        "wallet pay show") words='-h --help --config --json --token' value='' ;;
        "wallet pay approve") words='-h --help --config --json --spender --token' value=any ;;
        "wallet pay withdraw") words='-h --help --config --json --yes --token' value=any ;;
        help) words='-h --help --json' value='quick-start api backup benchmarks commands configuration containers dashboard events limits models monitoring on-chain openai prometheus-rules requirements security service several-nodes troubleshooting' ;;
        completion) words='-h --help' value='bash zsh fish' ;;
        version) words='-h --help --json' value='' ;;
    esac
    case $previous in
    --before|--cacert|--client|--config|--container|--deadline|--expires|--file|--find|--folder|--format|--host|--id|--idempotency-key|--image|--limit|--lines|--model|--model-key|--model-name|--name|--old-password-file|--output|--password-file|--podman-url|--port|--priority|--protocol|--recipe|--scope|--set|--set-file|--sha256|--spender|--state|--tail|--timeout|--token|--token-file|--trial|--types|--url|--wait|-n)
        words= value=
        case "$place $previous" in
        "demo --model-key") value=file ;;
        "init --output") value=file ;;
        "init --format") value='toml json' ;;
        "init --recipe") value=file ;;
        "add-service --config") value=file ;;
        "add-service --protocol") value='infernet http openai' ;;
        "remove-service --config") value=file ;;
        "check --config") value=file ;;
        "run --config") value=file ;;
        "service install --config") value=file ;;
        "submit --file") value=file ;;
        "submit --config") value=file ;;
        "submit --token-file") value=file ;;
        "submit --cacert") value=file ;;
        "stream --file") value=file ;;
        "stream --config") value=file ;;
        "stream --token-file") value=file ;;
        "stream --cacert") value=file ;;
        "wait --config") value=file ;;
        "wait --token-file") value=file ;;
        "wait --cacert") value=file ;;
        "cancel --config") value=file ;;
        "cancel --token-file") value=file ;;
        "cancel --cacert") value=file ;;
        "status --config") value=file ;;
        "status --token-file") value=file ;;
        "status --cacert") value=file ;;
        "containers --config") value=file ;;
        "containers --token-file") value=file ;;
        "containers --cacert") value=file ;;
        "logs --config") value=file ;;
        "logs --token-file") value=file ;;
        "logs --cacert") value=file ;;
        "jobs --state") value='running success failed cancelled' ;;
        "jobs --container") value=container ;;
        "jobs --config") value=file ;;
        "jobs --token-file") value=file ;;
        "jobs --cacert") value=file ;;
        "events --config") value=file ;;
        "events --token-file") value=file ;;
        "events --cacert") value=file ;;
        "doctor --config") value=file ;;
        "token new --scope") value='read submit operator metrics' ;;
        "token new --config") value=file ;;
        "token list --config") value=file ;;
        "token revoke --config") value=file ;;
        "reload --config") value=file ;;
        "reload --token-file") value=file ;;
        "reload --cacert") value=file ;;
        "backup --config") value=file ;;
        "restore --config") value=file ;;
        "export --config") value=file ;;
        "wallet new --config") value=file ;;
        "wallet new --output") value=file ;;
        "wallet new --password-file") value=file ;;
        "wallet import --config") value=file ;;
        "wallet import --output") value=file ;;
        "wallet import --password-file") value=file ;;
        "wallet import --file") value=file ;;
        "wallet import --old-password-file") value=file ;;
        "wallet show --config") value=file ;;
        "wallet register --config") value=file ;;
        "wallet activate --config") value=file ;;
        "wallet pay create --config") value=file ;;
        "wallet pay show --config") value=file ;;
        "wallet pay approve --config") value=file ;;
        "wallet pay withdraw --config") value=file ;;
        esac ;;
    esac
    case $current in
    -*) value= ;;
    *) [[ $words == *" -"* && $value ]] && words= ;;
    esac
    case $value in
    any) ;;
    file)
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$current")) ;;
    container)
        local before=
        [[ $current == *,* ]] && before="${current%,*},"
        words=$(infernet-edge completion --containers 2>/dev/null)
        COMPREPLY=($(compgen -P "$before" -W "$words" -- "${current##*,}")) ;;
    *)
        COMPREPLY=($(compgen -W "$words $value" -- "$current")) ;;
    esac
}

complete -F _infernet_edge infernet-edge
