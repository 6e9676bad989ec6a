"""``OLDPYTHON bundled.py BUNDLE FOLDER``: run the bundled agent on each machine of FOLDER/jobs; FOLDER/results.

Nothing here is newer than Python 3.6.
"""

import importlib.util
import os
import pickle
import sys


def _fakes():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "machine.py")
    spec = importlib.util.spec_from_file_location("machine", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(bundle, folder):
    with open(bundle, encoding="utf-8") as file:
        exec(compile(file.read(), bundle, "exec"), {"__name__": "bundle"})
    agent, root = sys.modules["pragma_boot.agent.main"], sys.modules["pragma_boot.agent.root"]
    machine, results = _fakes(), {}
    with open(folder + "/jobs", "rb") as file:
        jobs = pickle.load(file)
    for name, tree, nics in jobs:
        top = os.path.join(folder, name)
        machine.build(top, tree, nics)
        status = agent.Agent(root.LiveRoot(top), machine.FakeSystem(top)).run("local")
        results[name] = (status, machine.tree_of(top))
    with open(folder + "/results", "wb") as file:
        pickle.dump(results, file, protocol=2)


if __name__ == "__main__":
    main(*sys.argv[1:])
