"""Carries a privacy request out with the code of Fides, for tests/system/web/test_fides.py. It runs where Fides is installed.

It reads its task as JSON from the standard input. The last line that it prints is its result. Fides' own records of the
connection, the policy and the privacy request are made in memory, where its web server would read them from PostgreSQL.
Identities go through Redis, as in Fides.
"""

# ruff: noqa: E402, T201
# mypy: ignore-errors

import json
import sys
from zipfile import ZipFile

import certifi

TASK = json.load(sys.stdin)
certifi.where = lambda: TASK["authority"]  # Fides asks it for the authorities of certificates

import fides
import fides.api.db.base  # all models, which name each other
from fides.api.graph.config import CollectionAddress
from fides.api.graph.execution import ExecutionNode
from fides.api.models.connectionconfig import AccessLevel, ConnectionConfig, ConnectionType
from fides.api.models.datasetconfig import convert_dataset_to_graph
from fides.api.models.policy import Policy
from fides.api.models.privacy_request import PrivacyRequest, RequestTask
from fides.api.schemas.connection_configuration.connection_secrets_saas import SaaSSchemaFactory
from fides.api.schemas.redis_cache import Identity
from fides.api.schemas.saas.saas_config import SaaSConfig
from fides.api.service.connectors.saas_connector import SaaSConnector
from fides.api.util.saas_util import (
    load_config_from_string,
    load_dataset_from_string,
    replace_config_placeholders,
    replace_dataset_placeholders,
)
from fides.api.util.unsafe_file_util import verify_zip
from fideslang.models import Dataset
from fideslang.validation import FidesKey

KEY = "raymu_instance"

with ZipFile(TASK["zip"]) as upload:
    verify_zip(upload)
    texts = {name: upload.read(name).decode() for name in upload.namelist()}
plain = load_config_from_string(texts["raymu_config.yml"])
SaaSConfig(**plain)
config = replace_config_placeholders(texts["raymu_config.yml"], "<instance_fides_key>", KEY)
dataset_tree = replace_dataset_placeholders(texts["raymu_dataset.yml"], "<instance_fides_key>", KEY)
assert load_dataset_from_string(texts["raymu_dataset.yml"])
dataset = Dataset(**dataset_tree)

connection = ConnectionConfig(
    key=KEY, name=KEY, connection_type=ConnectionType.saas, access=AccessLevel.write, saas_config=config
)
schema = SaaSSchemaFactory(SaaSConfig(**config)).get_saas_schema()  # of what a person fills in
connection.secrets = schema(domain=TASK["domain"], token=TASK["token"]).model_dump()
graph = convert_dataset_to_graph(dataset, FidesKey(KEY))
connector = SaaSConnector(connection)
result = {"version": fides.__version__, "erased": {}}
try:
    result["test"] = str(connector.test_connection().value)
except Exception as problem:
    result["test"] = type(problem).__name__

privacy_request = PrivacyRequest(id=TASK["privacy_request"])
privacy_request.cache_identity(Identity(**TASK["identities"]))
policy = Policy(name="erasure", key="erasure")
for collection in [*graph.collections] * 2 if TASK["identities"] else ():  # as if a worker were lost after its call
    task = RequestTask(
        collection_address=CollectionAddress(KEY, collection.name).value,
        collection=json.loads(collection.model_dump_json(serialize_as_any=True)),
        traversal_details={
            "dataset_connection_key": KEY,
            "incoming_edges": [],
            "outgoing_edges": [],
            "input_keys": [],
            "skipped_nodes": [],
        },
    )
    node = ExecutionNode(task)
    try:
        rows = connector.retrieve_data(node, policy, privacy_request, task, {})
        erased = connector.mask_data(node, policy, privacy_request, task, rows)
    except Exception as problem:
        erased = f"{type(problem).__name__}: {problem}"
    result["erased"].setdefault(collection.name, []).append(erased)
print(json.dumps(result))
