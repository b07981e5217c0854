"""Clients of AWS that open no socket of their own: each request goes through a `Transport`."""

import logging
import os
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config

from config.esp_config import SesConfig
from services.http_transport import Transport

# At DEBUG botocore logs whole requests: addresses, texts, signatures.
logging.getLogger("botocore").setLevel(logging.WARNING)


def aws_client(
    config: SesConfig,
    service: str,
    transport: Transport,
    *,
    region: str | None = None,
    endpoint_url: str | None = None,
) -> Any:
    """A client of `service` in `region`, of SES's when none is said; one attempt per call.

    `endpoint_url` stands for Amazon's own address. What the transport raises, the call raises.
    """
    client = _session(config, region or config.region).client(
        service,
        endpoint_url=endpoint_url,
        config=Config(
            # Not `max_attempts`, which counts re-tries: the default sends three times.
            retries={"total_max_attempts": 1},
            ignore_configured_endpoint_urls=True,
            # We write every key ourselves and a test holds them against the service model:
            # checking each call again would only cost a third of its time.
            parameter_validation=False,
        ),
    )

    def exchange(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        answer = transport.exchange(
            request.method, request.url, dict(request.headers), request.body
        )
        return AWSResponse(request.url, answer.status, answer.headers, _Raw(answer.body))

    # An answer given here keeps botocore from opening a socket of its own, which would
    # know neither a total deadline nor a limit of size.
    client.meta.events.register(f"before-send.{service}", exchange)
    return client


def _session(config: SesConfig, region: str) -> boto3.Session:
    """The settings are its only source: no ~/.aws, no AWS_PROFILE, no AWS_ENDPOINT_URL."""
    nowhere, nothing = (None, None, os.devnull, None), (None, None, None, None)
    core = botocore.session.Session(
        session_vars={
            "config_file": nowhere,
            "credentials_file": nowhere,
            "profile": nothing,
            "ca_bundle": nothing,
        }
    )
    return boto3.Session(
        aws_access_key_id=config.access_key_id,
        aws_secret_access_key=config.secret_access_key,
        region_name=region,
        botocore_session=core,
    )


class _Raw:
    """A body as botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body
