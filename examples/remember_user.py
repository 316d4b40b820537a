"""Save, find and correct what is known about a user.

pip install "lakemem[local]"
python remember_user.py
"""

from lakemem import Memory
from lakemem.integrations.embedders import LocalEmbedder


def main() -> None:
    with Memory(embedder=LocalEmbedder()) as memory:
        ada = memory.for_user("ada")
        ada.save("preferred_workspace", {"workspace_id": "12345", "region": "eu"})
        ada.save("answer_style", "The user likes short answers.", metadata={"source": "chat"})
        ada.save("favourite_dish", "lasagne", namespace=("private", "food"))

        print("Which fits best?")
        for hit in ada.search("Should I be brief?", limit=2):
            print(f"  {hit.key}: {hit.text!r}, score {hit.score:.2f}, similarity {hit.similarity:.2f}")

        print("What did she say in a chat?")
        for record in ada.items(filter={"source": "chat"}):
            print(f"  {record.key}, version {record.version}")

        corrected = ada.update("preferred_workspace", {"workspace_id": "67890", "region": "eu"})
        print(f"The workspace is {corrected.value['workspace_id']} now, version {corrected.version}.")

        ada.delete("favourite_dish", namespace=("private", "food"))
        print("The dish is forgotten:", ada.get("favourite_dish", namespace=("private", "food")))
        print("Bob's memories:", memory.for_user("bob").items())


if __name__ == "__main__":
    main()
