#!/usr/bin/env python3
"""Service addresses and names: what kube-proxy and CoreDNS do in a cluster, for one node.

services.py API PKI DNS: watches Services and EndpointSlices, gives this machine the address of every
Service and passes its connections on to a ready endpoint, and answers `NAME.NAMESPACE.svc` at DNS:53.
Connections outlive the API server. TCP and IPv4 only.
"""

import asyncio
import json
import random
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.request

api, pki, dns = sys.argv[1:]
tls = ssl.create_default_context(cafile=f"{pki}/ca.crt")
tls.load_cert_chain(f"{pki}/admin.crt", f"{pki}/admin.key")
services, slices = {}, {}  # by namespace and name
listeners = {}  # by address and port


def key(item):
    return item["metadata"]["namespace"], item["metadata"]["name"]


def get(path):
    return urllib.request.urlopen(api + path, context=tls, timeout=600)


def watch(path, store, loop):
    """Keeps `store` like the API server's list; lists again when it is cut off."""
    while True:
        try:
            with get(path) as answer:
                listed = json.load(answer)
            loop.call_soon_threadsafe(replace, store, {key(item): item for item in listed["items"]})
            version = listed["metadata"]["resourceVersion"]
            with get(f"{path}?watch=1&resourceVersion={version}") as events:
                for line in events:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        break
                    loop.call_soon_threadsafe(change, store, event)
        except OSError as error:
            print(f"{path}: {error}", flush=True)
        time.sleep(0.2)


def replace(store, items):
    store.clear()
    store.update(items)
    arrange()


def change(store, event):
    if event["type"] == "DELETED":
        store.pop(key(event["object"]), None)
    else:
        store[key(event["object"])] = event["object"]
    arrange()


def endpoints(service, port):
    """The ready (address, port) pairs behind one port of a service."""
    for piece in slices.values():
        label = piece["metadata"].get("labels", {}).get("kubernetes.io/service-name")
        if (piece["metadata"]["namespace"], label) != service:
            continue
        numbers = [one["port"] for one in piece.get("ports") or [] if one.get("name", "") == port]
        for endpoint in piece.get("endpoints") or []:
            if endpoint["conditions"].get("ready", True):
                yield from ((address, number) for address in endpoint["addresses"] for number in numbers)


def arrange():
    """Listens where services are, and nowhere else."""
    wanted = {}
    for service, item in services.items():
        address = item["spec"].get("clusterIP")
        if address in (None, "", "None") or service == ("default", "kubernetes"):
            continue
        for port in item["spec"]["ports"]:
            if port.get("protocol", "TCP") == "TCP":
                wanted[address, port["port"]] = (service, port.get("name", ""))
    addresses = {address for address, _ in wanted}
    for where in [where for where in listeners if where not in wanted]:
        listeners.pop(where).cancel()
        if where[0] not in addresses:
            subprocess.run(["ip", "address", "del", f"{where[0]}/32", "dev", "lo"], check=False)
    for where, behind in wanted.items():
        if where not in listeners:
            subprocess.run(["ip", "address", "replace", f"{where[0]}/32", "dev", "lo"], check=True)
            listeners[where] = asyncio.ensure_future(listen(where, behind))


async def listen(where, behind):
    async def serve(reader, writer):
        try:
            ready = list(endpoints(*behind))
            if ready:
                there = await asyncio.open_connection(*random.choice(ready))
                await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
        except OSError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, *where) as server:
        await server.serve_forever()


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()


class Names(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, sender):
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode().lower())
            at += 1 + data[at]
        question = data[12 : at + 5]
        kind = struct.unpack("!H", data[at + 1 : at + 3])[0]
        found = resolve(labels)
        answers = [address for address in found or [] if kind == 1]
        head = data[:2] + struct.pack("!HHHHH", 0x8580 if found is not None else 0x8583, 1, len(answers), 0, 0)
        body = b"".join(
            struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + bytes(map(int, address.split("."))) for address in answers
        )
        self.transport.sendto(head + question + body, sender)


def resolve(labels):
    """The addresses of a service's name; None: there is no such name."""
    if labels[-2:] == ["cluster", "local"]:
        labels = labels[:-2]
    if len(labels) != 3 or labels[2] != "svc":
        return None
    service = (labels[1], labels[0])
    item = services.get(service)
    if item is None:
        return None
    if item["spec"].get("clusterIP") != "None":
        return [item["spec"]["clusterIP"]]
    return sorted({address for port in item["spec"].get("ports", []) for address, _ in endpoints(service, port.get("name", ""))})


async def main():
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Names, local_addr=(dns, 53))
    for path, store in [("/api/v1/services", services), ("/apis/discovery.k8s.io/v1/endpointslices", slices)]:
        threading.Thread(target=watch, args=(path, store, loop), daemon=True).start()
    await asyncio.Event().wait()


asyncio.run(main())
