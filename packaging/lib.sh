# shellcheck shell=bash
# What packaging/try, packaging/install and tests/run share: distribution packages, the choice of
# Python, and the venv in the tree. Sourced; the caller has set -euo pipefail and ROOT.

# Nothing of the caller's shell may lead pip or Python elsewhere, or make files that others can't read.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_USER
export PIP_DISABLE_PIP_VERSION_CHECK=1
umask 022

readonly PYTHON_FLOOR="3.11"
readonly PYTHON_MODULES="venv ensurepip setuptools wheel psutil pyudev systemd rich"

say() {
    printf 'oomd: %s\n' "$*" >&2
}

die() {
    say "$@"
    exit 2
}

# Runs a command without a word; when it fails, what it had to say comes first.
quietly() {
    local output
    if ! output=$("$@" 2>&1); then
        printf '%s\n' "$output" >&2
        return 1
    fi
}

# --- distribution packages ---------------------------------------------------------------------

package_tool() {
    if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
        echo apt
    elif command -v dnf >/dev/null && command -v rpm >/dev/null; then
        echo dnf
    else
        echo none
    fi
}

# Those of the named packages that are not installed, one a line. Asks only the local database.
missing_packages() {
    local installed package
    if [[ $(package_tool) == apt ]]; then
        installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
            sed -n 's/ installed$//p') || true
    else
        # A name that another package provides (python3-wheel, say) counts as installed.
        installed=$(for package in "$@"; do
            if rpm -q --whatprovides "$package" >/dev/null 2>&1; then echo "$package"; fi
        done)
    fi
    for package in "$@"; do
        grep -qxF -- "$package" <<<"$installed" || echo "$package"
    done
}

apt_update() {
    say "fetching the lists of packages ..."
    quietly apt-get -q -o DPkg::Lock::Timeout=600 update ||
        die "apt-get update failed (above): check the network and /etc/apt/sources.list, then run this again"
}

# Lists older than a day may name versions that the mirror no longer has. The lists' own times are
# the mirror's; every update writes to `partial`.
apt_lists_are_fresh() {
    compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null &&
        [[ -n $(find /var/lib/apt/lists/partial -maxdepth 0 -mtime -1 2>/dev/null) ]]
}

# Progress: what is downloaded, then each package as it is unpacked.
apt_install() {
    LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
        -o Dpkg::Use-Pty=0 --no-install-recommends install "$@" 2>"$APT_ERRORS" |
        sed -un -e 's/^Need to get \(.*\) of archives\.$/oomd: downloading \1 .../p' \
            -e 's/^Unpacking \([^ :]*\).*/oomd: installing \1 .../p' >&2
}

need_packages_apt() {
    APT_ERRORS=$(mktemp)
    if apt_lists_are_fresh; then
        apt_install "$@" && rm -f "$APT_ERRORS" && return
    fi
    apt_update
    apt_install "$@" && rm -f "$APT_ERRORS" && return
    cat "$APT_ERRORS" >&2
    rm -f "$APT_ERRORS"
    die "apt-get could not install (above): $*"
}

need_packages_dnf() {
    quietly dnf -q -y --setopt=install_weak_deps=False install "$@" ||
        die "dnf could not install (above): $*"
}

# Sees to it that the named packages are installed, or says whom to ask for what.
need_packages() {
    local missing command
    case $(package_tool) in
    apt) command=apt-get ;;
    dnf) command=dnf ;;
    none) die "there is no apt or dnf here; install what these packages of Debian hold: $*" ;;
    esac
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]} > 0)) || return 0
    ((EUID == 0)) ||
        die "not root, and packages are missing; ask for: $command install ${missing[*]}"
    say "installing ${missing[*]} ..."
    "need_packages_${command%-get}" "${missing[@]}"
}

# --- Python --------------------------------------------------------------------------------------

# VERSION of an interpreter ("3.11"), or nothing if there is none.
python_version() {
    "$1" -I -S -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

new_enough() {
    [[ -n $1 && $(printf '%s\n' "$PYTHON_FLOOR" "$1" | sort -V | head -n1) == "$PYTHON_FLOOR" ]]
}

# RHEL 9: the distribution's python3 is 3.9, and its psutil, pyudev and systemd modules are built
# for that one. A newer interpreter is packaged, the modules for it come from the package registry
# (systemd-python is compiled there, hence the compiler).
choose_newer_python() {
    local version
    for version in 3.13 3.12 3.11 ""; do
        [[ -z $version || -x /usr/bin/python$version ]] && break
    done
    version=${version:-3.12}
    say "/usr/bin/python3 is older than $PYTHON_FLOOR: using python$version, and Python's package registry for psutil, pyudev, systemd-python and rich"
    need_packages "python$version" "python$version-devel" gcc pkgconf-pkg-config systemd-devel
    PYTHON=/usr/bin/python$version
    PYTHON_IS_DISTRIBUTIONS=no
}

# Sets PYTHON and PYTHON_IS_DISTRIBUTIONS (whether psutil and the rest come as its packages), and
# installs what either needs.
choose_python() {
    local version module
    PYTHON=/usr/bin/python3
    PYTHON_IS_DISTRIBUTIONS=yes
    version=$(python_version "$PYTHON")
    if [[ -n $version ]] && ! new_enough "$version"; then
        [[ $(package_tool) == dnf ]] ||
            die "/usr/bin/python3 is $version, and oomd needs $PYTHON_FLOOR or newer (Debian 12, Ubuntu 24.04, Fedora 37, RHEL 9, or later)"
        choose_newer_python
        return
    fi
    case $(package_tool) in
    apt) need_packages python3 python3-venv python3-setuptools python3-wheel \
        python3-psutil python3-pyudev python3-systemd python3-rich ;;
    dnf) need_packages python3 python3-setuptools python3-wheel \
        python3-psutil python3-pyudev python3-systemd python3-rich ;;
    none)
        for module in $PYTHON_MODULES; do
            "$PYTHON" -I -c "import $module" 2>/dev/null ||
                die "/usr/bin/python3 has no module $module, and there is no apt or dnf to get it with; install for it: $PYTHON_MODULES"
        done
        ;;
    esac
    version=$(python_version "$PYTHON")
    new_enough "$version" ||
        die "/usr/bin/python3 is ${version:-missing}, and oomd needs $PYTHON_FLOOR or newer"
}

make_venv() {
    quietly "$PYTHON" -m venv --clear --system-site-packages "$1" ||
        die "could not make a venv in $1 (above): remove that folder, or make it writable"
}

# pip_install VENV ARGUMENT...: with the distribution's modules nothing is fetched from anywhere.
pip_install() {
    local venv=$1
    shift
    if [[ $PYTHON_IS_DISTRIBUTIONS == yes ]]; then
        set -- --no-index --no-build-isolation --no-deps "$@"
    fi
    quietly "$venv/bin/python" -m pip install --quiet "$@"
}

# --- the venv in the tree --------------------------------------------------------------------------

# The stamp names all that the venv was made from, this tree's path among it: a moved tree, another
# Python or a changed pyproject.toml makes a new venv.
venv_key() {
    {
        echo "$ROOT"
        "$PYTHON" -VV
        cat "$ROOT/pyproject.toml" "$ROOT/packaging/lib.sh"
    } | sha256sum | cut -d' ' -f1
}

venv_works() {
    local stamp=""
    [[ -r $ROOT/.venv/stamp ]] && stamp=$(<"$ROOT/.venv/stamp")
    case $stamp in
    "$1 run") [[ $2 == run ]] || return 1 ;;
    "$1 test") ;;
    *) return 1 ;;
    esac
    "$ROOT/.venv/bin/python" -I -c 'import oomd' 2>/dev/null
}

# ready_venv run|test: makes .venv with oomd in it as an editable package, for "test" with the test
# tools from the package registry too. Quick when it is there; "test" serves for "run".
ready_venv() {
    local level=$1 key venv=$ROOT/.venv
    choose_python
    key=$(venv_key)
    # Two runs in one tree must not build one venv: the second waits. (Needs no file of its own.)
    exec 9<"$ROOT/pyproject.toml"
    flock 9
    if ! venv_works "$key" "$level"; then
        say "making .venv with $("$PYTHON" -V) ..."
        mkdir -p "$venv" 2>/dev/null || true
        [[ -w $venv ]] || die "cannot write $venv: run this as the owner of $ROOT"
        make_venv "$venv"
        pip_install "$venv" --editable "$ROOT" || die "pip could not install oomd into .venv (above)"
        if [[ $level == test ]]; then
            say "installing the test tools into .venv ..."
            # No --no-index: the distribution's pytest, mypy and ruff are too old, or not there.
            quietly "$venv/bin/python" -m pip install --quiet --no-build-isolation \
                --editable "${ROOT}[test]" ||
                die "pip could not install the test tools (above): it needs Python's package registry, or a pip configuration that names a mirror"
        fi
        echo "$key $level" >"$venv/stamp"
    fi
    exec 9<&-
}

# --- man pages, completion -------------------------------------------------------------------------

# make_docs SHARE: the pages, compressed, and the completion of the shells, below SHARE as below
# /usr/share. Takes scdoc; PYTHON, if set, runs it.
make_docs() {
    local share=$1 pages page
    pages=$(mktemp -d)
    docs_command man "$pages" || return
    for page in "$pages"/*; do
        gzip -9n "$page"
        install -D -m 644 "$page.gz" "$share/man/man${page##*.}/${page##*/}.gz"
    done
    rm -rf "$pages"
    docs_command completion "$share"
}

docs_command() {
    PYTHONPATH=$ROOT:$ROOT/packaging PYTHONDONTWRITEBYTECODE=1 \
        "${PYTHON:-/usr/bin/python3}" -m oomd_docs "$@"
}

# remove_docs SHARE: what make_docs has made.
remove_docs() {
    rm -f "$1"/man/man[1578]/oomd{,-*,.toml}.[1578].gz \
        "$1"/{bash-completion/completions/oomd,zsh/site-functions/_oomd} \
        "$1/fish/vendor_completions.d/oomd.fish"
}

# --- packages ---------------------------------------------------------------------------------------

# lay_out_source FOLDER: a copy of what packages are built from. A build leaves folders behind, and
# takes up what an earlier one left.
lay_out_source() {
    mkdir -p "$1"
    cp -R "$ROOT"/{pyproject.toml,LICENSE,README.md,CHANGELOG.md,oomd,packaging,systemd} "$1/"
    find "$1" -name __pycache__ -prune -exec rm -rf {} +
}
