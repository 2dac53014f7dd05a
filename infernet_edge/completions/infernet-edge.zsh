#compdef infernet-edge
# zsh completion of infernet-edge; made by tests/support/completion.py; used as `infernet-edge completion` says

_infernet_edge() {
    local place= value= word next number
    local -a commands flags names
    for ((number = 2; number < CURRENT; number++)); do
        word=${words[number]}
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
        "") commands=('demo:Start a node with two small example services, as containers if Podman can run them and as processes otherwise' 'init:Write a configuration file' 'add-service:Add the container of a recipe of the registry (infernet-recipes) to the configuration' 'remove-service:Remove a container from the configuration' 'check:check the configuration and list all its errors' 'run:run the node until Ctrl+C or SIGTERM' 'service:install the node as a systemd service, upgrade it, show its state' 'submit:send a job to a node' 'stream:run one container and print its output as it comes' 'wait:wait until jobs have ended, and print their results' 'cancel:cancel jobs that wait or run' 'status:show health, jobs, containers, disk, memory and chain of a running node' 'discover:find nodes in the local network' 'containers:list containers with what they use' 'logs:show the log of a container' 'jobs:list the newest jobs of all clients, or show one' 'events:show what happens in a node: jobs, containers, storage, chain' 'doctor:Checks all that a node needs, and prints for each check whether it is ok, and if not, what it means and how to fix it' 'token:make, list and revoke the tokens that clients of the node need' 'reload:make the running node read its configuration again, without interrupting jobs' 'backup:write the jobs and the configuration of the node into one file' 'restore:put a backup in the place of the node'"'"'s jobs' 'export:write the node and its services as files of Kubernetes or Podman' 'wallet:make, import, show and register the node'"'"'s account' 'help:show a page of the documentation, or the list of its pages' 'completion:print the completion of commands and options for a shell' 'version:print the versions of the node, Python, SQLite and the system') flags=('-h:show this help message' '--help:show this help message' '--version:show program'"'"'s version number and exit') value='' ;;
        demo) commands=() flags=('-h:show this help message' '--help:show this help message' '--once:exit when the jobs are done' '--port:port of the node' '--host:address to listen on' '--image:image with python3 for the services' '--model:a real model: the URL of a model server, such as http://127.0.0.1:8080, or a GGUF file' '--model-name:which model of a server that has several' '--model-key:file with the key that the model server wants' '--podman-url:Podman'"'"'s API' '--no-podman:run the services as processes' '--keep:keep the node'"'"'s data') value='' ;;
        init) commands=() flags=('-h:show this help message' '--help:show this help message' '--output:the file to write' '--format:toml explains every setting in comments' '--host:address to listen on' '--port:port of the REST API' '--image:an image to run as a container' '--url:a service that runs elsewhere' '--id:name in jobs of the first, second, ' '--recipe:a recipe of the registry (infernet-recipes), of a node or of a service, to fill in' '--set:value of an input of the recipe, or of a key of its configuration such as chain.rpc_url' '--set-file:the same, with the value in a file' '--token:protect the node: make a token of this name for you, as an operator, and print the link that has it' '--no-token:make no token: everyone in the network may use it' '--yes:ask no questions' '--defaults:ask no questions' '--force:replace the file if it exists' '--json:print JSON') value='' ;;
        add-service) commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--id:name in jobs' '--protocol:what the service speaks' '--set:value of an input of the recipe, or of a key of its configuration such as chain.rpc_url' '--set-file:the same, with the value in a file' '--yes:ask no questions' '--defaults:ask no questions' '--json:print JSON') value=file ;;
        remove-service) commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--json:print JSON') value=container ;;
        check) commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--strict:fail (78) when there are notes, not only errors' '--json:print JSON') value='' ;;
        run) commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--verbose:also log details') value='' ;;
        service) commands=('install:install this executable as a service and start it' 'uninstall:stop the service and remove it' 'status:show the service'"'"'s state, version and health' 'logs:show the service'"'"'s log' 'upgrade:run another executable' 'rollback:run the previous version again, which an upgrade keeps' 'unpack:unpack this executable into a folder') flags=('-h:show this help message' '--help:show this help message') value='' ;;
        "service install") commands=() flags=('-h:show this help message' '--help:show this help message' '--dry-run:show every step and change nothing' '--config:configuration to copy, if none exists in /etc/infernet-edge' '--rootless:run Podman as the node'"'"'s user: safer, without limits for containers' '--rootful:run Podman as root' '--json:print JSON') value='' ;;
        "service uninstall") commands=() flags=('-h:show this help message' '--help:show this help message' '--dry-run:show every step and change nothing' '--purge:remove data, configuration, secrets and user too' '--json:print JSON') value='' ;;
        "service status") commands=() flags=('-h:show this help message' '--help:show this help message' '--json:print JSON') value='' ;;
        "service logs") commands=() flags=('-h:show this help message' '--help:show this help message' '--json:print an object for each entry' '-f:keep printing new lines' '--follow:keep printing new lines' '-n:how many' '--lines:how many') value='' ;;
        "service upgrade") commands=() flags=('-h:show this help message' '--help:show this help message' '--json:print JSON' '--sha256:its expected digest' '--timeout:time until it must be ready' '--trial:time in which it is on trial: if it crashes repeatedly, it is rolled back') value=file ;;
        "service rollback") commands=() flags=('-h:show this help message' '--help:show this help message' '--json:print JSON' '--timeout:time until it must be ready' '--trial:time in which it is on trial: if it crashes repeatedly, it is rolled back') value='' ;;
        "service unpack") commands=() flags=('-h:show this help message' '--help:show this help message' '--json:print JSON') value=file ;;
        submit) commands=() flags=('-h:show this help message' '--help:show this help message' '--file:a file with the input' '--wait:wait for the result, at most N seconds' '--priority:-10 to 10' '--deadline:fail when it has not started by then' '--timeout:for each container, at most that of its configuration' '--idempotency-key:any text: repeated with the same one, the job is executed once' '--config:configuration, JSON or TOML' '--url:the node to ask, such as http://raspberrypi.local:4000' '--token-file:with --url: a file with a token' '--cacert:with an https URL: the certificate to trust, PEM' '--json:print JSON') value=container ;;
        stream) commands=() flags=('-h:show this help message' '--help:show this help message' '--file:a file with the input' '--config:configuration, JSON or TOML' '--url:the node to ask, such as http://raspberrypi.local:4000' '--token-file:with --url: a file with a token' '--cacert:with an https URL: the certificate to trust, PEM' '--json:print JSON') value=container ;;
        wait) commands=() flags=('-h:show this help message' '--help:show this help message' '--timeout:for all jobs together' '--config:configuration, JSON or TOML' '--url:the node to ask, such as http://raspberrypi.local:4000' '--token-file:with --url: a file with a token' '--cacert:with an https URL: the certificate to trust, PEM' '--json:print JSON') value=any ;;
        cancel) commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--url:the node to ask, such as http://raspberrypi.local:4000' '--token-file:with --url: a file with a token' '--cacert:with an https URL: the certificate to trust, PEM' '--json:print JSON') value=any ;;
        status) commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--url:the node to ask, such as http://raspberrypi.local:4000' '--token-file:with --url: a file with a token' '--cacert:with an https URL: the certificate to trust, PEM' '--json:print JSON') value='' ;;
        discover) commands=() flags=('-h:show this help message' '--help:show this help message' '--timeout:how long to wait for answers' '--json:print JSON') value='' ;;
        containers) commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--url:the node to ask, such as http://raspberrypi.local:4000' '--token-file:with --url: a file with a token' '--cacert:with an https URL: the certificate to trust, PEM' '--json:print JSON') value='restart pull' ;;
        logs) commands=() flags=('-h:show this help message' '--help:show this help message' '-f:keep showing new lines' '--follow:keep showing new lines' '--tail:how many of the last lines' '--times:show the time of each line (UTC)' '--config:configuration, JSON or TOML' '--url:the node to ask, such as http://raspberrypi.local:4000' '--token-file:with --url: a file with a token' '--cacert:with an https URL: the certificate to trust, PEM' '--json:print JSON') value=container ;;
        jobs) commands=() flags=('-h:show this help message' '--help:show this help message' '--limit:how many' '--state:list those in this state' '--container:list those with this container' '--client:list those of this client' '--find:list those whose id begins with this' '--before:list those that are older than this one' '--onchain:list subscriptions of the chain and their deliveries, each with its state' '--skipped:with --onchain: list what this node does not serve, with reasons' '--config:configuration, JSON or TOML' '--url:the node to ask, such as http://raspberrypi.local:4000' '--token-file:with --url: a file with a token' '--cacert:with an https URL: the certificate to trust, PEM' '--json:print JSON') value=any ;;
        events) commands=() flags=('-h:show this help message' '--help:show this help message' '-f:keep showing new events' '--follow:keep showing new events' '--types:job, container, storage, chain, attention, minute, machine' '--tail:show the last N events first, if the node keeps them' '--config:configuration, JSON or TOML' '--url:the node to ask, such as http://raspberrypi.local:4000' '--token-file:with --url: a file with a token' '--cacert:with an https URL: the certificate to trust, PEM' '--json:print JSON') value='' ;;
        doctor) commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--json:print an object: name of the check -> level (ok, unknown, warning, problem), text, remedy, command, and the same of each of its findings') value='' ;;
        token) commands=('new:make a token' 'list:list all tokens: scope, expiry and last use, never their texts' 'revoke:revoke a token: the node refuses it from now on') flags=('-h:show this help message' '--help:show this help message') value='' ;;
        "token new") commands=() flags=('-h:show this help message' '--help:show this help message' '--scope:what it permits' '--expires:a period such as 12h, 30d or 8w, or a date such as 2027-01-01, which is its beginning in UTC' '--keep-jobs:it is for the same person as an earlier token of this name, and may read those jobs' '--replace-damaged:put a damaged file of tokens aside, and begin a new one' '--config:configuration, JSON or TOML' '--json:print JSON') value=any ;;
        "token list") commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--json:print JSON') value='' ;;
        "token revoke") commands=() flags=('-h:show this help message' '--help:show this help message' '--yes:also the last token, which opens the node: do not ask' '--config:configuration, JSON or TOML' '--json:print JSON') value=any ;;
        reload) commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--url:the node to ask, such as http://raspberrypi.local:4000' '--token-file:with --url: a file with a token' '--cacert:with an https URL: the certificate to trust, PEM' '--json:print JSON') value='' ;;
        backup) commands=() flags=('-h:show this help message' '--help:show this help message' '--with-secrets:include keys, passwords, tokens and all files that the configuration names' '--force:replace FILE if it exists' '--json:print JSON' '--config:configuration, JSON or TOML') value=file ;;
        restore) commands=() flags=('-h:show this help message' '--help:show this help message' '--dry-run:check the backup, and change nothing' '--json:print JSON' '--config:configuration, JSON or TOML') value=file ;;
        export) commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--name:name of the node'"'"'s objects' '--image:image with the node'"'"'s executable' '--show-env:write the variables of containers (env)' '--folder:write files there instead of printing them' '--force:with --folder: replace files' '--json:print JSON: the files, with their texts or paths, and the notes') value='kube quadlet' ;;
        wallet) commands=('new:make a key and write it to a file' 'import:import a key from a terminal, from stdin or from a file, never as an argument' 'show:the account'"'"'s address, its balance, and whether it is registered' 'register:register with the coordinator of SDK 0.1' 'activate:activate the registered account, so that it may deliver' 'pay:The payment wallet is a contract of Infernet'"'"'s wallet factory (SDK 1.x), named by chain.wallet.payment_address: the coordinator pays this node there, and locks money in it while a proof has no verdict') flags=('-h:show this help message' '--help:show this help message') value='' ;;
        "wallet new") commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--output:the file to write' '--password-file:password to encrypt the key with' '--plain:do not encrypt the key' '--json:print JSON: amounts as text, and no secret') value='' ;;
        "wallet import") commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--output:the file to write' '--password-file:password to encrypt the key with' '--plain:do not encrypt the key' '--json:print JSON: amounts as text, and no secret' '--file:a key in hex digits, or a keystore' '--old-password-file:password of the keystore to import') value='' ;;
        "wallet show") commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--json:print JSON: amounts as text, and no secret') value='' ;;
        "wallet register") commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--json:print JSON: amounts as text, and no secret') value='' ;;
        "wallet activate") commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--json:print JSON: amounts as text, and no secret') value='' ;;
        "wallet pay") commands=('create:make a wallet that belongs to the node'"'"'s account, and show what to configure' 'show:show the owner, balances, locked amounts, and what proofs may lock' 'approve:set what a spender may lock or spend' 'withdraw:send money from the wallet to its owner, the node'"'"'s account') flags=('-h:show this help message' '--help:show this help message') value='' ;;
        "wallet pay create") commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--json:print JSON: amounts as text, and no secret' '--another:make one even if the configuration names one') value='' ;;
        "wallet pay show") commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--json:print JSON: amounts as text, and no secret' '--token:a token to show besides the coin and the containers'"'"' accepted_payments') value='' ;;
        "wallet pay approve") commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--json:print JSON: amounts as text, and no secret' '--spender:who may spend it' '--token:an ERC-20 token') value=any ;;
        "wallet pay withdraw") commands=() flags=('-h:show this help message' '--help:show this help message' '--config:configuration, JSON or TOML' '--json:print JSON: amounts as text, and no secret' '--yes:do not ask for confirmation' '--token:an ERC-20 token') value=any ;;
        help) commands=() flags=('-h:show this help message' '--help:show this help message' '--json:print JSON: topic, title, and text') value='quick-start api backup benchmarks commands configuration containers dashboard events limits models monitoring on-chain openai prometheus-rules requirements security service several-nodes troubleshooting' ;;
        completion) commands=() flags=('-h:show this help message' '--help:show this help message') value='bash zsh fish' ;;
        version) commands=() flags=('-h:show this help message' '--help:show this help message' '--json:print JSON') value='' ;;
    esac
    case ${words[CURRENT-1]} in
    --before|--cacert|--client|--config|--container|--deadline|--expires|--file|--find|--folder|--format|--host|--id|--idempotency-key|--image|--limit|--lines|--model|--model-key|--model-name|--name|--old-password-file|--output|--password-file|--podman-url|--port|--priority|--protocol|--recipe|--scope|--set|--set-file|--sha256|--spender|--state|--tail|--timeout|--token|--token-file|--trial|--types|--url|--wait|-n)
        commands=() flags=() value=
        case "$place ${words[CURRENT-1]}" in
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
    if [[ ${words[CURRENT]} == -* ]]; then
        _describe -o option flags
        return
    fi
    (( $#commands )) && _describe command commands
    case $value in
    any|'') ;;
    file) _files ;;
    container)
        names=(${(f)"$(infernet-edge completion --containers 2>/dev/null)"})
        compset -P '*,'
        compadd -- $names ;;
    *) compadd -- ${=value} ;;
    esac
}

if [[ $funcstack[1] == _infernet_edge ]]; then
    _infernet_edge "$@"
else
    compdef _infernet_edge infernet-edge
fi
