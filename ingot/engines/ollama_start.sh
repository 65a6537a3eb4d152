# $1: the model, $2: the port. Written by Ingot.
load() {
    until (: <>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; do sleep 0.2; done
    body="{\"model\":\"$1\",\"stream\":false}"
    # Without a prompt it loads the model, and answers once that is there.
    {
        printf 'POST /api/generate HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n' >&3
        printf 'Content-Length: %s\r\n\r\n%s' "${#body}" "$body" >&3
        read -r _ status _ <&3
        [ "$status" = 200 ] && return
        echo "the model was not loaded (status $status):" >&2
        while read -r line || [ -n "$line" ]; do echo "$line" >&2; done <&3
    } 3<>"/dev/tcp/127.0.0.1/$2"
    return 1
}
(load "$1" "$2" || kill $$) &
exec /bin/ollama serve
