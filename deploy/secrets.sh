#!/bin/sh
# Makes what compose.yaml reads as secrets, each file once: run it before the first start, and again whenever a file was
# deleted to be renewed (README.md, "Renew a secret"). It never changes a file that exists.
#
# Needs a POSIX shell, openssl and base32 (coreutils). Nothing is sent anywhere.
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
dir=${ZHIRONG_SECRETS:-$here/secrets}
database_host=${ZHIRONG_DATABASE_HOST:-postgres:5432}
mkdir -p "$dir/tokens" "$dir/remembered"
# The folder keeps other users of the host out; the files in it are readable because each is mounted alone into containers
# that run as different unprivileged users.
chmod 0700 "$dir"
chmod 0755 "$dir/tokens"
# What `zhirong audit verify` remembers is written by such a user.
chmod 0777 "$dir/remembered"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Bytes on standard input -> hexadecimal.
hex() { od -An -v -tx1 | tr -d ' \n'; }

# Hexadecimal on standard input -> bytes.
unhex() {
    sed 's/../&\n/g' | while read -r byte; do
        # shellcheck disable=SC2059 # the format is the byte
        [ -z "$byte" ] || printf "\\$(printf '%03o' "0x$byte")"
    done
}

# keep NAME: writes standard input to the secret NAME, in one step.
keep() {
    cat > "$work/new"
    chmod 0444 "$work/new"
    mv "$work/new" "$dir/$1"
    echo "made secrets/$1"
}

# The two halves of an Ed25519 key in PEM, in hexadecimal: the last 32 bytes of either DER form.
private_half() { openssl pkey -in "$1" -outform DER | tail -c 32 | hex; }
public_half() { openssl pkey -in "$1" -pubout -outform DER | tail -c 32 | hex; }

# CRC-16/XMODEM of bytes in hexadecimal, low byte first, as nkeys append it.
crc16() {
    crc=0
    for byte in $(printf '%s' "$1" | sed 's/../& /g'); do
        crc=$((crc ^ (0x$byte << 8)))
        for _ in 1 2 3 4 5 6 7 8; do
            crc=$((crc & 0x8000 ? (crc << 1 ^ 0x1021) & 0xffff : crc << 1))
        done
    done
    printf '%02x%02x' $((crc & 0xff)) $((crc >> 8))
}

# nkey PREFIX KEY: text form of an nkey. Prefix 9500 is a user's seed, a0 a user's public key.
nkey() { printf '%s%s%s' "$1" "$2" "$(crc16 "$1$2")" | unhex | base32 -w 0 | tr -d '='; }

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

random_password() { head -c 24 /dev/urandom | hex; }

services="profile catalog matching subsidy feedback"

[ -e "$dir/postgres_password" ] || random_password | keep postgres_password
[ -e "$dir/grafana_password" ] || random_password | keep grafana_password

# A service's secret is its whole URL, so that a database elsewhere is a matter of writing another one.
for service in $services; do
    [ -e "$dir/${service}_database_url" ] ||
        printf 'postgres://%s:%s@%s/%s' "$service" "$(random_password)" "$database_host" "$service" |
        keep "${service}_database_url"
done

# Broker: the server knows public keys only; the seed stays with who signs in. `gov` is the government data platform,
# `audit` is who checks the audit trail.
for user in $services gov audit; do
    [ -e "$dir/${user}_nats_seed" ] && continue
    openssl genpkey -algorithm ed25519 -out "$work/nkey.pem"
    nkey 9500 "$(private_half "$work/nkey.pem")" | keep "${user}_nats_seed"
    printf '%s_nkey: %s\n' "$user" "$(nkey a0 "$(public_half "$work/nkey.pem")")" | keep "${user}_nats_nkey"
    rm -f "$dir/nats_users.conf"
done
[ -e "$dir/nats_users.conf" ] || {
    echo "# Public keys of the broker's users; nats.conf says what each may do."
    for user in $services gov audit; do cat "$dir/${user}_nats_nkey"; done
} | keep nats_users.conf

# What signs the audit trail and enterprise codes. Before there were several, the first one was alone in a file.
[ -e "$dir/profile_signing_keys" ] || {
    [ -e "$dir/profile_signing_seed" ] || openssl rand -base64 32 > "$work/seed"
    printf '1=%s\n' "$(cat "$dir/profile_signing_seed" 2> /dev/null || cat "$work/seed")"
} | keep profile_signing_keys

# What seals personal data. Lost, they can't be read again: keep a copy where no copy of the database is.
for service in profile feedback; do
    [ -e "$dir/${service}_data_keys" ] ||
        printf 'index=%s,1=%s\n' "$(openssl rand -base64 32)" "$(openssl rand -base64 32)" | keep "${service}_data_keys"
done

# The SMS provider's bearer token: put it in when there is a provider.
[ -e "$dir/sms_token" ] || printf '' | keep sms_token

# Tokens: the gateway reads the public half (JWKS); the private half is for `zhirong token` alone.
if [ ! -e "$dir/signing-key.pem" ]; then
    openssl genpkey -algorithm ed25519 | keep signing-key.pem
    rm -f "$dir/jwks.json"
fi
if [ ! -e "$dir/jwks.json" ]; then
    x=$(public_half "$dir/signing-key.pem" | unhex | base64url)
    # RFC 7638: the thumbprint is the id.
    kid=$(printf '{"crv":"Ed25519","kty":"OKP","x":"%s"}' "$x" | openssl dgst -sha256 -binary | base64url)
    printf '{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"%s","x":"%s"}]}\n' "$kid" "$x" |
        keep jwks.json
fi

# Settings of the compose project; an operator edits them.
if [ ! -e "$here/.env" ]; then
    umask 022
    cp "$here/env.example" "$here/.env"
    echo "made .env"
fi
