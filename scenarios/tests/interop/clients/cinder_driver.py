"""The unmodified upstream Cinder driver for Huawei arrays behind JSON lines, for the tests in `../cinder.rs`.

One request a line on stdin, `{"call": NAME, ...}`; one answer a line on stdout, `{"ok": VALUE}` or `{"error": TEXT,
"kind": CLASS}`. The test plays scheduler, Nova and host; this file only turns names into Cinder's objects and calls the
driver through cinderlib. Nothing here touches the driver's own code.
"""

import json
import os
import sys
import types
import urllib.parse
import urllib.request
import uuid
import xml.etree.ElementTree as ET

# Answers go to the real stdout; whatever a library prints goes to stderr.
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import cinderlib  # noqa: E402
from cinder.volume import volume_utils  # noqa: E402
from cinder.volume.drivers.huawei import huawei_utils  # noqa: E402

DRIVER = "cinder.volume.drivers.huawei.huawei_driver.HuaweiISCSIDriver"


def configuration(ask):
    """The driver's own XML file, as an administrator would write it."""
    root = ET.Element("config")

    def section(name, **texts):
        parent = ET.SubElement(root, name)
        for key, text in texts.items():
            ET.SubElement(parent, key).text = str(text)
        return parent

    section("Storage", Product=ask["product"], Protocol="iSCSI", UserName=ask["user"],
            UserPassword=ask["password"], RestURL=ask["url"])
    section("LUN", LUNType="Thin", StoragePool=";".join(ask["pools"]), LUNcopyWaitInterval=1,
            LUNReadyWaitInterval=1, Timeout=60)
    iscsi = section("iSCSI", DefaultTargetIP=";".join(ask["portals"]))
    for attributes in ask["initiators"]:
        ET.SubElement(iscsi, "Initiator", attributes)
    path = os.path.join(ask["dir"], "huawei.xml")
    ET.ElementTree(root).write(path, encoding="UTF-8", xml_declaration=True)
    return path


class Desk:
    """Volumes, snapshots and groups by the names that the test gives them."""

    def __init__(self):
        self.things = {}

    # ---- the back end

    def setup(self, ask):
        self.url = ask["url"]
        cinderlib.setup(file_locks_path=ask["dir"], disable_logs=True, root_helper="sudo")
        # There is no database of group types here; every group is a consistency group.
        volume_utils.is_group_a_cg_snapshot_type = lambda group: True
        self.backend = cinderlib.Backend(volume_driver=DRIVER, volume_backend_name="foreign",
                                         cinder_huawei_conf_file=configuration(ask))
        self.driver = self.backend.driver
        return self.driver.get_version()

    def stats(self, ask):
        return self.backend.stats(refresh=True)["pools"]

    def control(self, ask):
        """The array's control surface, which is not the driver's business."""
        where = urllib.parse.urljoin(self.url, "/_ctl/" + ask["path"])
        body = json.dumps(ask["body"]).encode() if "body" in ask else None
        with urllib.request.urlopen(urllib.request.Request(where, body), timeout=10) as answer:
            return json.load(answer)

    # ---- volumes

    def create(self, ask):
        extra = {key: ask[key] for key in ("extra_specs", "qos_specs") if key in ask}
        self.keep(ask, self.backend.create_volume(ask["size"], name=ask["name"], pool_name=ask["pool"], **extra))

    def keep(self, ask, thing):
        self.things[ask["name"]] = thing

    def delete(self, ask):
        self.things.pop(ask["name"]).delete()

    def extend(self, ask):
        self.things[ask["name"]].extend(ask["size"])

    def snapshot(self, ask):
        self.keep(ask, self.things[ask["of"]].create_snapshot(ask["name"]))

    # cinderlib hands on all fields of the source, its place on the array too; a new volume has none yet.
    NEW = {"provider_location": None, "metadata": {}}

    def from_snapshot(self, ask):
        source = self.things[ask["of"]]
        self.keep(ask, source.create_volume(size=ask["size"], name=ask["name"], **self.NEW))

    def clone(self, ask):
        source = self.things[ask["of"]]
        self.keep(ask, source.clone(size=ask["size"], name=ask["name"], **self.NEW))

    # ---- attachments

    @staticmethod
    def connector(ask):
        return {"initiator": ask["initiator"], "host": ask["host"], "multipath": ask.get("multipath", False),
                "ip": "127.0.0.1", "platform": "x86_64", "os_type": "linux"}

    def connect(self, ask):
        return self.driver.initialize_connection(self.things[ask["name"]]._ovo, self.connector(ask))["data"]

    def disconnect(self, ask):
        self.driver.terminate_connection(self.things[ask["name"]]._ovo, self.connector(ask))

    def connect_snapshot(self, ask):
        snapshot = self.things[ask["name"]]._ovo
        return self.driver.initialize_connection_snapshot(snapshot, self.connector(ask))["data"]

    def disconnect_snapshot(self, ask):
        self.driver.terminate_connection_snapshot(self.things[ask["name"]]._ovo, self.connector(ask))

    # ---- moving, adopting, grouping

    def capabilities(self, pool):
        where = self.backend.stats()["pools"][0]["location_info"]
        return {"pool_name": pool, "location_info": where, "storage_protocol": "iSCSI"}

    def migrate(self, ask):
        # The driver reads an option that nothing registers, in Cinder's master too.
        setattr(self.driver.configuration, "san_protocol", "iSCSI")
        volume = self.things[ask["name"]]._ovo
        there = volume.host.split("#")[0] + "#" + ask["pool"]
        host = {"host": there, "capabilities": self.capabilities(ask["pool"])}
        moved, _ = self.driver.migrate_volume(cinderlib.objects.CONTEXT, volume, host)
        if moved:
            volume.host = there
        return moved

    def retype(self, ask):
        volume = self.things[ask["name"]]._ovo
        to = {"id": str(uuid.uuid4()), "name": "thin", "qos_specs_id": None,
              "extra_specs": {"capabilities:thin_provisioning_support": "<is> true"}}
        host = {"host": volume.host, "capabilities": self.capabilities(volume.host.split("#")[1])}
        return bool(self.driver.retype(cinderlib.objects.CONTEXT, volume, to, {}, host))

    def adopt(self, ask):
        """`of` goes on under the new row `name`."""
        there = self.things.pop(ask["of"])
        here = cinderlib.Volume(self.backend, size=1, name=ask["name"], pool_name=ask["pool"])
        reference = {"source-name": huawei_utils.encode_name(there.id)}
        size = self.driver.manage_existing_get_size(here._ovo, reference)
        here._ovo.update(self.driver.manage_existing(here._ovo, reference))
        here._ovo.size = size
        self.keep(ask, here)
        return size

    def unmanage(self, ask):
        self.driver.unmanage(self.things[ask["name"]]._ovo)

    def group_copy(self, ask):
        """A consistent snapshot of several volumes, a volume from each, and the snapshot goes again."""
        context = cinderlib.objects.CONTEXT
        group = types.SimpleNamespace(id=str(uuid.uuid4()), volume_types=[], group_id=None)
        taken = types.SimpleNamespace(id=str(uuid.uuid4()), group_id=group.id)
        sources = [self.things[name] for name in ask["of"]]
        self.driver.create_group(context, group)
        self.driver.update_group(context, group, add_volumes=[v._ovo for v in sources], remove_volumes=[])
        snapshots = [cinderlib.Snapshot(v, name="in-group") for v in sources]
        ovos = [s._ovo for s in snapshots]
        _, updates = self.driver.create_group_snapshot(context, taken, ovos)
        for ovo, update in zip(ovos, updates):
            ovo.provider_location = update["provider_location"]
        copies = [cinderlib.Volume(self.backend, size=v._ovo.size, name=name, pool_name=ask["pool"])
                  for v, name in zip(sources, ask["names"])]
        _, updates = self.driver.create_group_from_src(
            context, group, [c._ovo for c in copies], group_snapshot=taken, snapshots=ovos)
        for copy, name, update in zip(copies, ask["names"], updates):
            copy._ovo.provider_location = update["provider_location"]
            self.things[name] = copy
        self.driver.delete_group_snapshot(context, taken, ovos)

    def delete_group(self, ask):
        group = types.SimpleNamespace(id=str(uuid.uuid4()), volume_types=[], group_id=None)
        volumes = [self.things.pop(name)._ovo for name in ask["names"]]
        _, updates = self.driver.delete_group(cinderlib.objects.CONTEXT, group, volumes)
        return [update["status"] for update in updates]


def main():
    desk = Desk()
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            answer = {"ok": getattr(desk, ask["call"])(ask)}
        except Exception as error:  # the test decides what an error means
            answer = {"error": str(error), "kind": type(error).__name__}
        print(json.dumps(answer, default=str), file=ANSWERS)
    # Threads of the libraries do not keep the process.
    os._exit(0)


main()
