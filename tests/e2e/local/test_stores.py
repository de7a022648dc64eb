"""DynamoDB and KMS keep what the platform builds on."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.local.conftest import Laptop

pytestmark = pytest.mark.e2e


def test_two_hundred_concurrent_additions_are_all_counted(laptop: Laptop) -> None:
    tables, name = laptop.client("dynamodb"), laptop.endpoints.outputs["TableName"]

    def add(_: int) -> None:
        tables.update_item(
            TableName=name,
            Key={"pk": {"S": "counter"}},
            UpdateExpression="ADD hits :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(add, range(200)))

    item = tables.get_item(TableName=name, Key={"pk": {"S": "counter"}}, ConsistentRead=True)["Item"]
    assert item["hits"] == {"N": "200"}


def test_only_one_of_many_conditional_writes_wins(laptop: Laptop) -> None:
    tables, name = laptop.client("dynamodb"), laptop.endpoints.outputs["TableName"]

    def take_lease(owner: int) -> bool:
        try:
            tables.put_item(
                TableName=name,
                Item={"pk": {"S": "lease"}, "owner": {"N": str(owner)}},
                ConditionExpression="attribute_not_exists(pk)",
            )
        except tables.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        wins = list(pool.map(take_lease, range(50)))

    assert wins.count(True) == 1


def test_data_key_opens_only_under_its_encryption_context(laptop: Laptop) -> None:
    keys = laptop.client("kms")
    key = keys.create_key()["KeyMetadata"]["KeyId"]

    made = keys.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext={"tenant": "a"})
    opened = keys.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"tenant": "a"})

    assert opened["Plaintext"] == made["Plaintext"]
    with pytest.raises(keys.exceptions.InvalidCiphertextException):
        keys.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"tenant": "b"})
