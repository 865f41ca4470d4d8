"""Machines within this one, for tests of `ray up`: namespaces with an address, sshd, home and process table each.

A node can be killed, as by a power cut, and started again. The network of the host is left alone, and no process
outlives the lab. Needs root, and the programs in `NEEDED`.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import HANG_S, wait_for

NEEDED = ("unshare", "nsenter", "setpriv", "ip", "ssh", "ssh-keygen", "rsync", "nc", "/usr/sbin/sshd")
ADDRESSES = {"laptop": "10.99.0.3", "hd": "10.99.0.1", "wk": "10.99.0.2"}

SSHD = """\
ListenAddress {address}:22
ListenAddress 127.0.0.1:22
HostKey {lab}/host_key
PidFile none
AuthorizedKeysFile {lab}/key.pub
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
PrintMotd no
"""
# Names resolve as Debian's installer leaves them: the machine's own to a loopback address.
HOSTS = """\
127.0.0.1 localhost
127.0.1.1 {name}
"""
# The first process of a node. It is told over its stdin that its end of the cable is there, and reaps orphans.
INIT = """\
set -e
mount -t tmpfs -o size=3g tmpfs /dev/shm
for folder in {kept}; do
  mkdir -p {node}/home/$folder
  mount --bind /root/$folder {node}/home/$folder
done
mount --rbind {node}/home /root
mount --bind {node}/tmp /tmp
mount --bind {node}/hosts /etc/hosts
mkdir -p /run/sshd
hostname {name}
ip link set lo up
echo ready
read -r plugged
ip address add {address}/24 dev {name}
ip link set {name} up
ip route add default dev {name}
/usr/sbin/sshd -D -f {node}/sshd_config -E {node}/sshd.log &
echo running
while :; do wait || true; sleep 1; done
"""


def why_not() -> str | None:
    """Return why there can be no lab on this machine, or None."""
    if os.geteuid() != 0:
        return "needs root, for namespaces"
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--mount-proc", "true"],
        capture_output=True,
        text=True,
    )
    return f"needs namespaces: {tried.stderr.strip()}" if tried.returncode else None


def _kept_of_home() -> str:
    """Return the folder of root's home, if any, in which the Python of these tests lies: nodes need it as well."""
    python, home = Path(sys.base_prefix), Path("/root")
    return str(python.relative_to(home)) if python.is_relative_to(home) else ""


class Node:
    """A machine of the lab: runs commands in itself as root, lists its processes, can be killed."""

    def __init__(self, lab: Path, name: str) -> None:
        self.name = name
        self.address = ADDRESSES[name]
        self.folder = lab / name
        self.home = self.folder / "home"
        for folder in (self.home, self.folder / "tmp"):
            folder.mkdir(parents=True)
        (self.folder / "tmp").chmod(0o1777)
        values = {"lab": lab, "node": self.folder, "name": name, "address": self.address}
        values["kept"] = _kept_of_home()
        (self.folder / "sshd_config").write_text(SSHD.format(**values))
        (self.folder / "hosts").write_text(HOSTS.format(**values))
        (self.folder / "init.sh").write_text(INIT.format(**values))
        self._unshare: subprocess.Popen[str] | None = None
        self.init = 0

    def start(self) -> None:
        """Start it up to where its cable is needed."""
        unshare = ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        self._unshare = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *unshare, "bash", str(self.folder / "init.sh")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "init.log").open("a"),
            text=True,
            start_new_session=True,
        )
        self._expect("ready")
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
        self.init = int(children[0])

    def plugged_in(self) -> None:
        """Go on, now that the cable is there; its sshd answers at the end."""
        assert self._unshare is not None
        assert self._unshare.stdin is not None
        self._unshare.stdin.write("plugged\n")
        self._unshare.stdin.flush()
        self._expect("running")
        wait_for(lambda: self.run(f"nc -z {self.address} 22", check=False).returncode == 0, "an answer of sshd")

    def _expect(self, word: str) -> None:
        assert self._unshare is not None
        assert self._unshare.stdout is not None
        said = self._unshare.stdout.readline().strip()
        assert said == word, f"node {self.name}: {said!r}; {(self.folder / 'init.log').read_text()}"

    def enter(self, command: str, variables: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line that runs a command in the node, in a login shell, in root's home."""
        clean = {"HOME": "/root", "USER": "root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(variables or {})}
        enter = ["nsenter", "-t", str(self.init), "-n", "-m", "-p", "-u", "-i", "--wd=/root"]
        shell = ["bash", "-c", f". ~/.bashrc 2>/dev/null; {command}"]
        return [*enter, "env", "-i", *(f"{key}={value}" for key, value in clean.items()), *shell]

    def run(
        self, command: str, check: bool = True, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the node; its output, stderr included, is in `stdout`."""
        done = subprocess.run(
            self.enter(command, variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANG_S,
        )
        assert not check or done.returncode == 0, f"{self.name}$ {command}\n{done.stdout}"
        return done

    def start_command(self, command: str, output: Path) -> subprocess.Popen[str]:
        """Start a command in the node; what it prints goes to a file of the host."""
        with output.open("w") as file:
            return subprocess.Popen(
                self.enter(command), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, text=True
            )

    def processes(self) -> list[str]:
        """Return the command lines of all that runs in it, besides what makes it a machine."""
        lines = self.run("ps -eo pid=,args= --sort=pid").stdout.splitlines()
        machine = ("/bin/sh", "bash", "sleep 1", "sshd:", "/usr/sbin/sshd", "ps -eo")
        commands = [line.strip().split(" ", 1)[-1] for line in lines]
        return [command for command in commands if not command.startswith(machine) and "<defunct>" not in command]

    def kill(self) -> None:
        """Kill it with all that runs in it, at once."""
        if self._unshare is None:
            return
        os.kill(self.init, signal.SIGKILL)
        self._unshare.wait(HANG_S)
        for pipe in (self._unshare.stdin, self._unshare.stdout):
            if pipe is not None:
                pipe.close()
        self._unshare = None


class Switch:
    """What the nodes are plugged into: a network namespace with a bridge. A node that dies leaves the others theirs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL
        )
        own = os.readlink("/proc/self/ns/net")
        namespace = Path(f"/proc/{self._process.pid}/ns/net")
        wait_for(lambda: os.readlink(namespace) != own, "a network of its own", every_s=0.05)
        self._run("ip link add bridge type bridge && ip link set bridge up")

    def plug_in(self, node: Node) -> None:
        """Give a node its cable."""
        assert self._process is not None
        end, switch = f"to-{node.name}", str(self._process.pid)
        card = "02:00:00:00:00:" + node.address.rsplit(".", 1)[1].zfill(2)  # the same whenever it is started
        cable = ["ip", "link", "add", node.name, "address", card, "netns", str(node.init), "type", "veth"]
        subprocess.run([*cable, "peer", "name", end, "netns", switch], check=True)
        self._run(f"ip link set {end} master bridge && ip link set {end} up")

    def _run(self, command: str) -> None:
        assert self._process is not None
        subprocess.run(["nsenter", "-t", str(self._process.pid), "-n", "bash", "-c", command], check=True)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Lab:
    """A laptop, a head and a worker on one switch. Whoever has `key` can log in as root of any."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "key"
        for file in (self.key, folder / "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
        self.nodes = self.laptop, self.head, self.worker = [Node(folder, name) for name in ADDRESSES]
        self._switch = Switch()

    def start(self) -> None:
        """Start it."""
        self._switch.start()
        for node in self.nodes:
            self.start_node(node)

    def start_node(self, node: Node) -> None:
        """Start a node, also one that was killed: its disk is as it was, and nothing runs in it."""
        node.start()
        self._switch.plug_in(node)
        node.plugged_in()

    def kill(self) -> None:
        """Kill all of it."""
        for node in self.nodes:
            node.kill()
        self._switch.stop()


@contextmanager
def running_lab() -> Iterator[Lab]:
    """Yield a lab that runs; nothing of it is left at the end."""
    folder = Path(tempfile.mkdtemp(prefix="lab-", dir="/var/tmp"))  # not /tmp: each node has its own
    lab = Lab(folder)
    try:
        lab.start()
        yield lab
    finally:
        lab.kill()
        shutil.rmtree(folder)
