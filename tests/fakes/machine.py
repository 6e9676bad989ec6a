"""A running machine for the guest agent: a folder as its root, devices, a clock, and programs that keep state.

Runs inside old Pythons, too, beside the bundled agent: so nothing here is newer than Python 3.6, and nothing of
ours is imported.
"""

import os


def build(top, tree, nics=()):
    """Fill the folder *top* with a `FakeGuest.tree()`, and sysfs with devices: (name, MAC) each."""
    for path, (mode, content) in sorted(tree.items()):
        place = top + path
        if content is None:
            os.makedirs(place, exist_ok=True)
            os.chmod(place, mode)
        elif isinstance(content, str):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.symlink(content, place)
        else:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as file:
                file.write(content)
            os.chmod(place, mode)
    for name, mac in nics:
        add_device(top, name, mac)


def add_device(top, name, mac, hardware=True):
    """A network device in sysfs."""
    folder = f"{top}/sys/class/net/{name}"
    os.makedirs(folder + "/device" if hardware else folder)
    with open(folder + "/address", "w") as file:
        file.write(mac + "\n")


def tree_of(top, without=("/sys", "/proc", "/run", "/var/lib/pragma-guest", "/var/log")):
    """What is below *top*, as `FakeGuest.tree()` has it; some folders left out."""
    found = {}
    for folder, folders, names in os.walk(top):
        for name in folders + names:
            place = os.path.join(folder, name)
            path = place[len(top) :]
            if any(path == each or path.startswith(each + "/") for each in without):
                continue
            mode = os.lstat(place).st_mode & 0o7777
            if os.path.islink(place):
                found[path] = (0o777, os.readlink(place))
            elif os.path.isdir(place):
                found[path] = (mode, None)
            else:
                with open(place, "rb") as file:
                    found[path] = (mode, file.read())
    return found


class FakeSystem:
    """Implements the agent's `System`. Its clock moves when somebody waits; *later* are (second, action) pairs.

    addresses: device → text of `ip addr`. names: DNS. missing, failing: programs that are not there, or fail.
    """

    def __init__(self, top):
        self.top = top
        self.clock = 0.0
        self.later = []
        self.commands = []
        self.started = []
        self.said = []
        self.hostname = "unset"
        self.addresses = {}
        self.names = {}
        self.outputs = {}
        self.missing = set()
        self.failing = set()
        self.mounted = None
        self.drive = {}

    def run(self, argv, timeout=60):
        return self.output(argv, timeout) is not None

    def output(self, argv, timeout=60):
        argv = list(argv)
        self.commands.append(" ".join(argv).replace(self.top, ""))
        if argv[0] in self.missing or argv[0] in self.failing:
            return None
        if argv[:4] == ["ip", "link", "set", "dev"]:
            return self._link(argv[4], argv[5:])
        if argv[:3] == ["ip", "-4", "-o"]:
            return self.addresses.get(argv[-1], "")
        if argv[0] == "mount":
            return self._mount(argv[-1])
        if argv[0] == "umount":
            self.mounted = None
        return self.outputs.get(" ".join(argv), "")

    def _link(self, device, words):
        folder = self.top + "/sys/class/net/"
        if not os.path.isdir(folder + device):
            return None
        if words[0] == "down":
            self.addresses.pop(device, None)
        if words[0] == "name":
            os.rename(folder + device, folder + words[1])
        return ""

    def _mount(self, folder):
        assert self.mounted is None
        self.mounted = folder
        for name, data in self.drive.items():
            os.makedirs(os.path.dirname(folder + "/" + name), exist_ok=True)
            with open(folder + "/" + name, "wb") as file:
                file.write(data)
        return ""

    def start(self, argv):
        self.started.append(" ".join(argv))

    def has(self, program):
        return program not in self.missing

    def now(self):
        return self.clock

    def wait(self, seconds):
        """Until the next thing that happens."""
        assert seconds > 0, "a wait that does not wait would go on for ever"
        due = sorted(each for each in self.later if each[0] <= self.clock + seconds)
        if not due:
            self.clock += seconds
            return
        self.later.remove(due[0])
        self.clock = max(self.clock, due[0][0])
        due[0][1]()

    def set_hostname(self, name):
        self.hostname = name

    def resolve(self, name):
        return self.names.get(name, [])

    def say(self, line):
        self.said.append(line)
