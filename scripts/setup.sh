# Sets up what SPEAR needs and is not there yet. Sourced by ./spear and scripts/test
# with $root set to the repository; POSIX sh, quiet when there is nothing to do.
#
#   set_up             Bun (the version that package.json names) and the npm packages
#   set_up_redis       redis-server
#   install_system apt-get=A dnf=B apk=C brew=D
#                      packages of the system, by the first manager that is there
#
# Afterwards $bun is the path of Bun. What set_up installs lies in $root/.spear and
# $root/node_modules. Several first starts at the same time wait for one another.

state=$root/.spear

say() { printf 'spear: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs "$@" with what it says in a file.
attempt() {
  mkdir -p "$state" && "$@" >"$state/setup.log" 2>&1 </dev/null
}

# The same, and on failure shows what it said.
quietly() {
  attempt "$@" && return
  say "this failed: $*"
  tail -n 15 "$state/setup.log" >&2
  return 1
}

# Runs "$@" in a subshell while no other set-up of this repository runs.
alone() {
  mkdir -p "$state" || die "can't write to $state"
  if have flock; then
    (
      flock -n 9 || { say "waiting for another set-up"; flock 9; }
      "$@" 9>&-
    ) 9>"$state/setup.lock"
    return
  fi
  # A link is made or not made, at once, and carries the holder's process id.
  until ln -s $$ "$state/setup.holder" 2>/dev/null; do
    holder=$(readlink "$state/setup.holder")
    if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then rm -f "$state/setup.holder"; fi
    sleep 1
  done
  ("$@")
  code=$?
  rm -f "$state/setup.holder"
  return $code
}

bun_version() { sed -n 's/^ *"bun": *"\([0-9.]*\)".*/\1/p' "$root/package.json"; }
is_bun() { [ -x "$1" ] && [ "$("$1" --version 2>/dev/null)" = "$2" ]; }

# Puts Bun into $state/bun. Its package carries no binary but depends on one for
# each platform; its install script, which npm may refuse to run, picks that.
install_bun() {
  is_bun "$state/bun/bun" "$version" && return
  say "installing Bun $version from the npm registry"
  new=$state/bun.new
  rm -rf "$new"
  mkdir -p "$new" && printf '{"private":true}\n' >"$new/package.json" || return 1
  if have npm; then
    quietly npm install --prefix "$new" --ignore-scripts --no-audit --no-fund "bun@$version" &&
      quietly node "$new/node_modules/bun/install.js" || return 1
  elif have bun; then
    quietly bun add --cwd "$new" --ignore-scripts --exact "bun@$version" &&
      quietly bun "$new/node_modules/bun/install.js" || return 1
  else
    say "Bun is missing, and so is npm to install it with"
    say "install Node.js with npm (https://nodejs.org) or Bun $version (https://bun.sh), then try again"
    return 1
  fi
  is_bun "$new/node_modules/bun/bin/bun.exe" "$version" || {
    say "the Bun that was installed does not run here: $new/node_modules/bun/bin/bun.exe"
    return 1
  }
  rm -rf "$state/bun"
  mkdir "$state/bun" && mv "$new/node_modules/bun/bin/bun.exe" "$state/bun/bun" && rm -rf "$new"
}

packages_current() { [ -d "$root/node_modules" ] && cmp -s "$root/bun.lock" "$state/bun.lock"; }

install_packages() {
  packages_current && return
  say "installing npm packages"
  (cd "$root" && quietly "$bun" install --frozen-lockfile) || return 1
  cp "$root/bun.lock" "$state/bun.lock.new" && mv "$state/bun.lock.new" "$state/bun.lock"
}

set_up() {
  version=$(bun_version)
  [ -n "$version" ] || die "package.json names no version of Bun"
  bun=$state/bun/bun
  if ! is_bun "$bun" "$version"; then
    bun=$(command -v bun)
    if ! is_bun "$bun" "$version"; then
      alone install_bun || die "Bun $version could not be installed"
      bun=$state/bun/bun
    fi
  fi
  packages_current || alone install_packages || die "the npm packages could not be installed"
}

# Sets $as_root to the words before a command that needs root.
find_root() {
  if [ "$(id -u)" = 0 ]; then as_root=
  elif sudo -n -E true 2>/dev/null; then as_root='sudo -n -E'
  elif sudo -n true 2>/dev/null; then as_root='sudo -n'
  else say "installing packages of the system needs root, or sudo without a password"; return 1
  fi
}

# $as_root and the packages of a choice are words: they are meant to be split.
# shellcheck disable=SC2086
install_system() {
  for choice; do
    manager=${choice%%=*}
    have "$manager" || continue
    packages=${choice#*=}
    [ "$manager" = brew ] || find_root || return 1
    say "installing $packages with $manager"
    case $manager in
      apt-get)
        apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=60"
        attempt $apt install -y --no-install-recommends $packages && return
        quietly $apt update && quietly $apt install -y --no-install-recommends $packages
        ;;
      dnf) quietly $as_root dnf install -qy $packages ;;
      apk) quietly $as_root apk add -q $packages ;;
      brew) quietly brew install -q $packages ;;
      *) die "install_system knows no $manager" ;;
    esac
    return
  done
  say "none of apt-get, dnf, apk and brew is here to install with"
  return 1
}

# Debian's redis-tools holds the server's program too (redis-server is a link to
# redis-check-rdb); the package redis-server would add a running service.
link_redis() {
  have redis-check-rdb || return 1
  mkdir -p "$state/bin"
  ln -sf "$(command -v redis-check-rdb)" "$state/bin/redis-server"
  "$state/bin/redis-server" --version >/dev/null 2>&1
}

install_redis() {
  have_redis && return
  install_system apt-get=redis-tools dnf=redis apk=redis brew=redis
  have_redis || link_redis
}

have_redis() { have redis-server || [ -x "$state/bin/redis-server" ]; }

set_up_redis() {
  if ! have_redis && ! alone install_redis; then
    say "redis-server is missing and could not be installed"
    say "install Redis 6.2 or newer (as root on Debian: apt-get install redis-tools), or use your own: --redis redis://HOST:6379"
    exit 1
  fi
  PATH=$PATH:$state/bin
  export PATH
}
