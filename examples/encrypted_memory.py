"""What a user said is encrypted before it leaves the process, and nobody reads it once the user's key is dropped.

pip install "lakemem[local,encryption]"
python encrypted_memory.py
"""

import os

from lakemem import Encryption, EncryptionError, MasterKeys, Memory
from lakemem.integrations.embedders import LocalEmbedder

# In an app: the environment variable LAKEMEM_MASTER_KEYS, or a secret scope.
KEYS = MasterKeys({"2026-11": os.urandom(32)})


def main() -> None:
    with Memory(embedder=LocalEmbedder(), encryption=Encryption(KEYS)) as memory:
        ada = memory.for_user("ada")
        ada.save("diagnosis", "Ada is allergic to penicillin.")
        ada.thread("visit").append([{"role": "user", "content": "I took penicillin once."}])
        print("with the key:", ada.get("diagnosis").value)
        print("by meaning:", [hit.key for hit in ada.search("Which medicine does she not tolerate?")])

        target = memory.target
        with Memory(target) as without_keys:
            print("without it:", str(without_keys.for_user("ada").get("diagnosis").value)[:30] + "...")

        ada.rotate_key()
        print("after a rotation:", ada.thread("visit").items()[0]["content"])

        print("dropped:", ada.drop_keys(reason="she asked for it").counts)
        try:
            ada.get("diagnosis")
        except EncryptionError as error:
            print("then:", error)


if __name__ == "__main__":
    main()
