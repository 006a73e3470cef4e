#!/usr/bin/env python3
"""Makes the fixtures of this folder: a writer of SOPS files that shares nothing with our reader.

After SOPS 3's `sops.go` and `aes/cipher.go`; the data key is encrypted by the `age` program, the values by Python's
`cryptography`. Each file is then read by `judge.mjs` (npm `sops-age`), which is neither.

    age-keygen -o identity.txt; python3 seal.py; cargo test --workspace --test sops        # needs pip: cryptography
"""
import base64, hashlib, json, os, re, subprocess, sys
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

STAMP = "2026-11-21T10:00:00Z"
OVER_ENCRYPTED = hashlib.sha256(b"sops").digest()


def spell(value):
    """The bytes of a value, as `ToBytes` of sops.go."""
    if isinstance(value, bool):
        return b"True" if value else b"False"
    if isinstance(value, float):
        return (repr(value)[:-2] if value.is_integer() else repr(value)).encode()
    return str(value).encode()


def seal_value(key, value, bound):
    if value == "":
        return ""
    iv = os.urandom(32)
    encryptor = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()
    encryptor.authenticate_additional_data(bound.encode())
    data = encryptor.update(spell(value)) + encryptor.finalize()
    kind = {bool: "bool", int: "int", float: "float"}.get(type(value), "str")
    b64 = lambda raw: base64.b64encode(raw).decode()
    return f"ENC[AES256_GCM,data:{b64(data)},iv:{b64(iv)},tag:{b64(encryptor.tag)},type:{kind}]"


def seal(documents, rule, only_encrypted=False):
    """Encrypts the documents in place and gives the sops block."""
    key, digest = os.urandom(32), hashlib.sha512(OVER_ENCRYPTED if only_encrypted else b"")
    regex = rule.get("encrypted_regex")
    suffix = rule.get("unencrypted_suffix", "_unencrypted")

    def walk(node, names):
        if isinstance(node, dict):
            return {name: walk(value, names + [name]) for name, value in node.items()}
        if isinstance(node, list):
            return [walk(value, names) for value in node]
        if node is None:
            return None
        is_encrypted = (any(re.search(regex, name) for name in names) if regex
                        else not any(name.endswith(suffix) for name in names))
        if is_encrypted or not only_encrypted:
            digest.update(spell(node))
        return seal_value(key, node, ":".join(names) + ":") if is_encrypted else node

    sealed = [walk(document, []) for document in documents]
    recipients = [line.split(": ")[1].strip() for line in open("identity.txt") if "public key" in line]
    # One that nobody has the identity of comes first: it must be passed over.
    stranger = subprocess.run(["age-keygen"], capture_output=True, text=True).stdout
    recipients.insert(0, re.search("public key: (.*)", stranger)[1])
    age = [{"recipient": one, "enc": subprocess.run(["age", "-a", "-r", one], input=key, capture_output=True,
                                                    check=True).stdout.decode()} for one in recipients]
    block = {"kms": [], "gcp_kms": [], "azure_kv": [], "hc_vault": [], "age": age, "lastmodified": STAMP,
             "mac": seal_value(key, digest.hexdigest().upper(), STAMP), "pgp": [], **rule, "version": "3.9.4"}
    if only_encrypted:
        block["mac_only_encrypted"] = True
    return sealed, block


def yaml(node, pad=""):
    """As go-yaml writes it: block style, four spaces."""
    out = ""
    for name, value in node.items():
        if isinstance(value, dict):
            out += f"{pad}{name}:\n" + yaml(value, pad + "    ")
        elif isinstance(value, list) and value:
            out += f"{pad}{name}:\n"
            for item in value:
                inner = yaml(item, pad + "      ").lstrip() if isinstance(item, dict) else f"{scalar(item)}\n"
                out += f"{pad}    - {inner}"
        elif isinstance(value, str) and value.count("\n") > 1:
            out += f"{pad}{name}: |\n" + "".join(f"{pad}    {line}\n" for line in value.rstrip("\n").split("\n"))
        else:
            out += f"{pad}{name}: {scalar(value)}\n"
    return out


def scalar(value):
    if isinstance(value, str) and (value == "" or value == STAMP or re.fullmatch(r"[-+.\d:]+|true|null", value)):
        return json.dumps(value)
    return value if isinstance(value, str) else json.dumps(value)


def put(name, text):
    with open(name, "w") as out:
        out.write(text)


def secret():
    return {"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "cnpg-backup-crypto", "namespace": "db", "creationTimestamp": None,
                         "labels": {"generation": 7, "weight": 1.5, "kept": True}},
            "stringData": {"CRYPTO_KEY_VALUE": "b3VyLW93bi1zZWNyZXQta2V5LW9mLTMyLWJ5dGVzISE=", "s3.conf": "[global]\na=b\n"}}


def mixed():
    return {"password": "hunter2 ünïcode", "count": 42, "ratio": 0.25, "on": True, "empty": "", "nothing": None,
            "list": ["one", {"deep": "two"}, 3], "note_unencrypted": "in the clear", "number_unencrypted": 1000}


if __name__ == "__main__":
    by_regex = {"encrypted_regex": "^(data|stringData)$"}
    (sealed,), block = seal([secret()], by_regex)
    put("secret.yaml", yaml(sealed) + "sops:\n" + yaml(block, "    "))
    (sealed,), block = seal([secret()], by_regex, only_encrypted=True)
    put("only-encrypted.yaml", yaml(sealed) + "sops:\n" + yaml(block, "    "))
    (one, other), block = seal([mixed(), {"second": "document"}], {"unencrypted_suffix": "_unencrypted"})
    put("documents.yaml", "---\n".join(yaml(part) + "sops:\n" + yaml(block, "    ") for part in (one, other)))
    (sealed,), block = seal([mixed()], {})
    put("mixed.json", json.dumps({**sealed, "sops": block}, indent="\t") + "\n")
    (sealed,), block = seal([{"PASSWORD": "hunter2", "MULTI": "two\nlines", "EMPTY": ""}], {})
    flat = {name: value for name, value in block.items() if isinstance(value, str)}
    for number, one in enumerate(block["age"]):
        flat |= {f"age__list_{number}__map_{name}": value for name, value in one.items()}
    flat = {f"sops_{name}": flat[name] for name in sorted(flat)}
    lines = [f"{name}={value}".replace("\n", "\\n") + "\n" for name, value in {**sealed, **flat}.items()]
    put("secrets.env", "".join(lines))
    (sealed,), block = seal([mixed()], {})
    block["pgp"], block["age"] = [{"created_at": STAMP, "enc": "-----BEGIN PGP MESSAGE-----", "fp": "AB" * 20}], []
    put("pgp.yaml", yaml(sealed) + "sops:\n" + yaml(block, "    "))
