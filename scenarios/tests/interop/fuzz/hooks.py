"""Two checks for schemathesis that only somebody who knows the array can make: a refused call changes nothing, and every
call is answered under HTTP 200. Calls go one after the other, so that what exists before and after each can be compared."""

import json
import os
import urllib.request

import schemathesis

BASE = os.environ["SANBENCH_FUZZ_URL"]
TOKEN = os.environ["SANBENCH_FUZZ_TOKEN"]
DEVICE = os.environ["SANBENCH_FUZZ_DEVICE"]
KINDS = ["lun", "snapshot", "host", "hostgroup", "lungroup", "portgroup", "mappingview", "iscsi_initiator", "ioclass"]
# What goes on by itself is not a change that a call has made.
RUNNING = {"SPLITPROGRESS", "SPLITSTATUS", "ROLLBACKRATE", "ROLLBACKENDTIME", "RUNNINGSTATUS", "ALLOCCAPACITY", "ISCLONE"}


def ask(path):
    headers = {"iBaseToken": TOKEN}
    request = urllib.request.Request(BASE + path, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def what_exists():
    state = {"counts": ask("/_ctl/state")["counts"]}
    for kind in KINDS:
        answer = ask(f"/deviceManager/rest/{DEVICE}/{kind}")
        objects = answer.get("data", [])
        state[kind] = [{k: v for k, v in one.items() if k not in RUNNING} for one in objects]
    return state


before = {}


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.method != "GET":
        before["state"] = what_exists()


@schemathesis.check
def refusals_change_nothing(ctx, response, case):
    answer = response.json()
    code = answer["error"]["code"]
    if case.method == "GET" or code == 0:
        return
    after = what_exists()
    if after != before["state"]:
        different = [kind for kind in after if after[kind] != before["state"][kind]]
        raise AssertionError(f"refused with {code}, and yet changed: {', '.join(different)}")


@schemathesis.check
def errors_come_under_http_200(ctx, response, case):
    if response.status_code != 200:
        raise AssertionError(f"HTTP status {response.status_code}")
