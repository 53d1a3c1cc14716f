"""Runs `go test` with -json and prints what a person wants of it: a line for each
package, all output of what failed, every skip with its reason, and a sum."""

import json
import subprocess
import sys


def main(command):
    at = command.index("test") + 1
    run = subprocess.Popen(command[:at] + ["-json"] + command[at:], stdout=subprocess.PIPE, text=True, errors="replace")
    output = {}  # (package, test) -> lines
    builds = {}  # import path -> what the compiler said
    count = {"pass": 0, "fail": 0, "skip": 0}
    for line in run.stdout:
        try:
            event = json.loads(line)
        except ValueError:
            print(line, end="", flush=True)
            continue
        action, package, test = event["Action"], event.get("Package", ""), event.get("Test", "")
        if action == "output":
            output.setdefault((package, test), []).append(event["Output"])
        elif action == "build-output":
            builds.setdefault(event["ImportPath"], []).append(event["Output"])
        elif action in count:
            said = "".join(output.pop((package, test), []))
            if test:
                count[action] += 1
                if action != "pass":
                    print(said, end="", flush=True)
                continue
            if action == "fail":
                print("".join(builds.get(event.get("FailedBuild", ""), [])), end="")
                # Tests that a crash or a timeout cut off have no event of their own.
                print("".join("".join(lines) for (p, _), lines in output.items() if p == package), end="")
            print(said if action == "fail" else said.splitlines()[-1] + "\n" if said else "", end="", flush=True)
    code = run.wait()
    print(f"{count['pass']} passed, {count['fail']} failed, {count['skip']} skipped", flush=True)
    if code == 0 and count["pass"] == 0:
        print("no test ran", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
