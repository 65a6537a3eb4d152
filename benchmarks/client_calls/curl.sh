#!/usr/bin/env bash
# curl: prints a line per call, "CALL<tab>ok" or why not. HTTP/2 is taken where it is offered.
set -u
bearer="Authorization: Bearer $OPENAI_API_KEY"
wrong="Authorization: Bearer sk-wrong-$(printf 'x%.0s' $(seq 43))"
json='Content-Type: application/json'
ask="{\"model\":\"$INGOT_MODEL\",\"max_tokens\":8,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]"

call() { curl --silent --show-error --http2 --cacert "$CURL_CA_BUNDLE" --max-time 60 "$@" 2>&1; }

for name; do
  case $name in
    models) said=$(call -H "$bearer" "$OPENAI_BASE_URL/models") && case $said in *"\"id\""*) said=ok ;; esac ;;
    chat) said=$(call -H "$bearer" -H "$json" -d "$ask}" "$OPENAI_BASE_URL/chat/completions") && case $said in *choices*) said=ok ;; esac ;;
    stream) said=$(call --no-buffer -H "$bearer" -H "$json" -d "$ask,\"stream\":true}" "$OPENAI_BASE_URL/chat/completions" | tail -n 2 | tr -d '\n') && [ "$said" = 'data: [DONE]' ] && said=ok ;;
    wrong_key) said=$(call -H "$wrong" "$OPENAI_BASE_URL/models") && case $said in *authentication_error*) said=ok ;; esac ;;
    refused_body) said=$(head -c 300000 /dev/zero | call -H "$wrong" --data-binary @- --max-time 10 "$OPENAI_BASE_URL/chat/completions") && case $said in *authentication_error*) said=ok ;; esac ;;
  esac
  printf '%s\t%s\n' "$name" "$(printf '%s' "$said" | tr '\n\t' '  ' | cut -c1-200)"
done
