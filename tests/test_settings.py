"""Settings: defaults, one line for each fault, no secret in sight, `.env.example`."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from config.domain_setup import load as load_domain_setup
from config.esp_config import ESPS, EspConfig, EspName, PostmarkConfig, SendGridConfig, SesConfig
from config.failpoints import Armed, Failpoint
from config.reader import Reader
from config.settings import (
    ROOT,
    DnsGate,
    EspDistribution,
    SendingMode,
    Settings,
    SettingsError,
    _check_live,
    _settings,
    load_settings,
    sandbox_esps,
    secrets_of,
)
from config.values import Nameserver

API_KEY = "k3yOfTheApi-0123"
SECRET_KEY = "s1gner-0123456789abcdefghijklmnop"
OLD_SECRET_KEY = "older-0123456789abcdefghijklmnop"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:ses-events"
PUBLIC_KEY = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"

KEYS = {"API_KEY": API_KEY, "SECRET_KEY": SECRET_KEY}
LIVE = KEYS | {
    "SENDING_MODE": "live",
    "PUBLIC_BASE_URL": "https://mail.example.com",
    "FROM_EMAIL": "news@example.com",
    "POSTAL_ADDRESS": "1 Main Street, Springfield",
    "SENDGRID_API_KEY": "SG.sendgrid-key",
}
SES = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "aws/secret",
    "AWS_REGION": "eu-west-1",
}

DESIGN = {
    *("SENDING_MODE", "DATABASE_URL", "API_KEY", "SECRET_KEY", "HOST", "PORT", "PUBLIC_BASE_URL"),
    "DATA_DIR",
    *("FROM_EMAIL", "FROM_NAME", "POSTAL_ADDRESS", "SENDING_DOMAIN", "SYNC_BUDGET_SECONDS"),
    *("TRUSTED_PROXY_HOPS", "DNS_NAMESERVERS", "DOMAIN_SETUP_FILE", "DNS_GATE", "ESP_DISTRIBUTION"),
    *("DNS_BLOCKLIST_NAMESERVERS", "SENDING_IPS", "FAILPOINT"),
    *("API_CALLS_PER_MINUTE", "WRONG_KEYS_PER_MINUTE", "PUBLIC_CALLS_PER_MINUTE"),
    *("OPT_IN_MAILS_PER_HOUR", "ALLOWED_SENDERS"),
    *("READ_API_KEYS", "SIGN_UP_API_KEYS", "SEND_API_KEYS"),
    *("MAX_RECIPIENTS_PER_CAMPAIGN", "CONFIRM_COUNT_OVER"),
    *("SENDGRID_API_KEY", "SENDGRID_BASE_URL", "SENDGRID_WEBHOOK_PUBLIC_KEY"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL_SESV2"),
    *("SES_CONFIGURATION_SET", "SES_SNS_TOPIC_ARNS", "SNS_CERT_DIR"),
    *("POSTMARK_API_KEY", "POSTMARK_ACCOUNT_TOKEN", "POSTMARK_BASE_URL"),
    *("POSTMARK_MESSAGE_STREAM", "POSTMARK_TRANSACTIONAL_STREAM"),
    *("POSTMARK_WEBHOOK_USER", "POSTMARK_WEBHOOK_PASSWORD"),
    *("SENDGRID_PRIORITY", "SES_PRIORITY", "POSTMARK_PRIORITY"),
    *("SENDGRID_PER_SECOND", "SES_PER_SECOND", "POSTMARK_PER_SECOND"),
    *("SENDGRID_DAILY_LIMIT", "SES_DAILY_LIMIT", "POSTMARK_DAILY_LIMIT"),
    *("SENDGRID_MONTHLY_LIMIT", "SES_MONTHLY_LIMIT", "POSTMARK_MONTHLY_LIMIT"),
    *("SENDGRID_BATCH_SIZE", "SES_BATCH_SIZE", "POSTMARK_BATCH_SIZE"),
    *("SENDGRID_CONCURRENCY", "SES_CONCURRENCY", "POSTMARK_CONCURRENCY"),
}
"""Section 7 of the design: what an installation may say, of the three ESPs."""

THREE = (EspName.SENDGRID, EspName.SES, EspName.POSTMARK)
ADDED = tuple(f"{esp.upper()}_" for esp in EspName if esp not in THREE)
"""How the settings of ESPs begin that were added to the three: these tests let them pass."""

LIMITS = {
    **load_settings(KEYS, None).esp_limits,
    EspName.SENDGRID: EspConfig(name=EspName.SENDGRID, priority=1, batch_size=100, concurrency=4),
    EspName.SES: EspConfig(name=EspName.SES, priority=2, batch_size=50, concurrency=4),
    EspName.POSTMARK: EspConfig(name=EspName.POSTMARK, priority=3, batch_size=100, concurrency=4),
}
DEFAULTS = Settings(
    sending_mode=SendingMode.SANDBOX,
    database_url=f"sqlite:///{ROOT}/data/email.db",
    data_dir=ROOT / "data",
    api_key=API_KEY,
    read_api_keys=(),
    sign_up_api_keys=(),
    send_api_keys=(),
    secret_keys=(SECRET_KEY,),
    host="127.0.0.1",
    port=5000,
    public_base_url="http://127.0.0.1:5000",
    from_email="news@example.com",
    from_name=None,
    allowed_senders=(),
    postal_address="Example Ltd, 1 Example Street, Example Town",
    sending_domain="example.com",
    sync_budget_seconds=300,
    max_recipients_per_campaign=0,
    confirm_count_over=0,
    trusted_proxy_hops=0,
    api_calls_per_minute=1200,
    wrong_keys_per_minute=120,
    public_calls_per_minute=120,
    opt_in_mails_per_hour=200,
    dns_nameservers=(),
    dns_blocklist_nameservers=(),
    sending_ips=(),
    domain_setup_file=ROOT / "config" / "domain_setup.json",
    domain_setups=load_domain_setup(ROOT / "config" / "domain_setup.json"),
    esp_distribution=EspDistribution.PRIORITY,
    dns_gate=DnsGate.WARN,
    esp_limits=LIMITS,
    esps={},
)


def load(environ: dict[str, str]) -> Settings:
    return load_settings(environ, env_file=None)


def faults(environ: dict[str, str], env_file: Path | None = None) -> list[str]:
    with pytest.raises(SettingsError) as error:
        load_settings(environ, env_file)
    assert str(error.value).splitlines() == list(error.value.faults)
    return list(error.value.faults)


def test_defaults() -> None:
    assert load(KEYS) == DEFAULTS


def test_env_example_names_every_variable_and_holds_the_defaults() -> None:
    example = ROOT / ".env.example"
    reader = Reader(KEYS)
    _settings(reader)
    names = re.findall(r"^([A-Z0-9_]+)=", example.read_text(), re.MULTILINE)
    assert sorted(names) == sorted(reader.names)
    # Whole, so also without a warning of an unknown variable.
    assert load_settings(KEYS, example) == DEFAULTS


@pytest.mark.parametrize("environ", [KEYS, LIVE])
def test_settings_read_the_variables_of_the_design_and_no_other(environ: dict[str, str]) -> None:
    reader = Reader(environ)
    _check_live(reader, _settings(reader))
    assert {name for name in reader.names if not name.startswith(ADDED)} == DESIGN


@pytest.mark.parametrize(
    ("name", "text", "attribute", "value"),
    [
        ("SENDING_MODE", " Sandbox ", "sending_mode", SendingMode.SANDBOX),
        (
            "DATABASE_URL",
            "sqlite:////var/lib/mail.db",
            "database_url",
            "sqlite:////var/lib/mail.db",
        ),
        ("DATABASE_URL", "sqlite:///a/b.db", "database_url", f"sqlite:///{ROOT}/a/b.db"),
        ("DATABASE_URL", "postgres://u:p@h:1/d", "database_url", "postgresql+psycopg://u:p@h:1/d"),
        ("DATABASE_URL", "postgresql:///d", "database_url", "postgresql+psycopg:///d"),
        ("DATA_DIR", "state/mail", "data_dir", ROOT / "state/mail"),
        ("DATA_DIR", "/var/lib/mail", "data_dir", Path("/var/lib/mail")),
        (
            "SECRET_KEY",
            f"{SECRET_KEY}, {OLD_SECRET_KEY},",
            "secret_keys",
            (SECRET_KEY, OLD_SECRET_KEY),
        ),
        ("HOST", "::", "host", "::"),
        ("PORT", "8000", "port", 8000),
        ("PORT", "8000", "public_base_url", "http://127.0.0.1:8000"),
        ("PUBLIC_BASE_URL", "https://x.example/mail/", "public_base_url", "https://x.example/mail"),
        ("PUBLIC_BASE_URL", "http://[::1]:80", "public_base_url", "http://[::1]:80"),
        ("FROM_EMAIL", "Ann@News.Example.org", "from_email", "Ann@news.example.org"),
        ("FROM_EMAIL", "Ann@News.Example.org", "sending_domain", "news.example.org"),
        ("FROM_NAME", "Größe & Co", "from_name", "Größe & Co"),
        (
            "ALLOWED_SENDERS",
            "Ann@News.Example.org, @Xn--Bcher-Kva.Example, @example.com",
            "allowed_senders",
            ("Ann@news.example.org", "@xn--bcher-kva.example", "@example.com"),
        ),
        ("POSTAL_ADDRESS", "1 Main Street", "postal_address", "1 Main Street"),
        ("SENDING_DOMAIN", "Example.ORG.", "sending_domain", "example.org"),
        ("SYNC_BUDGET_SECONDS", "0", "sync_budget_seconds", 0),
        ("MAX_RECIPIENTS_PER_CAMPAIGN", "5000", "max_recipients_per_campaign", 5000),
        ("CONFIRM_COUNT_OVER", "1000", "confirm_count_over", 1000),
        ("TRUSTED_PROXY_HOPS", "1", "trusted_proxy_hops", 1),
        ("FAILPOINT", "body-sent", "failpoint", Armed(Failpoint.BODY_SENT, 1)),
        ("FAILPOINT", "connected:3", "failpoint", Armed(Failpoint.CONNECTED, 3)),
        ("API_CALLS_PER_MINUTE", "0", "api_calls_per_minute", 0),
        ("WRONG_KEYS_PER_MINUTE", "5", "wrong_keys_per_minute", 5),
        ("PUBLIC_CALLS_PER_MINUTE", "60", "public_calls_per_minute", 60),
        ("OPT_IN_MAILS_PER_HOUR", "100000", "opt_in_mails_per_hour", 100_000),
        (
            "DNS_NAMESERVERS",
            "9.9.9.9, 127.0.0.1:5353,2620:fe::fe,[::1]:54",
            "dns_nameservers",
            (
                Nameserver("9.9.9.9", 53),
                Nameserver("127.0.0.1", 5353),
                Nameserver("2620:fe::fe", 53),
                Nameserver("::1", 54),
            ),
        ),
        (
            "DOMAIN_SETUP_FILE",
            "config/domain_setup.json",
            "domain_setup_file",
            ROOT / "config" / "domain_setup.json",
        ),
        (
            "DNS_BLOCKLIST_NAMESERVERS",
            "127.0.0.1:5353",
            "dns_blocklist_nameservers",
            (Nameserver("127.0.0.1", 5353),),
        ),
        (
            "SENDING_IPS",
            "9.9.9.9, 2620:FE:0::fe",
            "sending_ips",
            ("9.9.9.9", "2620:fe::fe"),
        ),
        ("ESP_DISTRIBUTION", "balanced", "esp_distribution", EspDistribution.BALANCED),
        ("DNS_GATE", "off", "dns_gate", DnsGate.OFF),
        (
            "SES_PER_SECOND",
            "0.5",
            "esp_limits",
            LIMITS | {EspName.SES: replace(LIMITS[EspName.SES], per_second=0.5)},
        ),
    ],
)
def test_value(name: str, text: str, attribute: str, value: object) -> None:
    assert getattr(load({**KEYS, name: text}), attribute) == value


NUMBER = "must be a whole number from 1 to"
URL = "must be a URL like https://mail.example.com, without user, query or spaces"
HTTPS = "must begin with https:// (http:// only for 127.0.0.1, [::1] and localhost)"
DATABASE = (
    "must be a file like sqlite:///data/email.db"
    " or a server like postgresql://user:password@host:5432/database"
)
HOST = "must be an IP address to listen on, like 127.0.0.1 or 0.0.0.0"
ADDRESS = "must be one plain address like news@example.com"
DOMAIN = "must be a domain like example.com (in its xn-- form if not ASCII)"
PLACE = "must be a name of config/failpoints.py, like body-sent or body-sent:3"
SENDERS = "each, separated by commas, must be like news@example.com, or @example.com for all of it"
ONE_LINE = "must be one line without control characters"
RATE = "must be a number above 0, like 10 or 0.5"
ASCII = "must be printable ASCII without spaces"
API = "must be at least 16 random characters"
SIGNER = "each, separated by commas, must be at least 32 random characters"
DNS = (
    "each, separated by commas,"
    " must be an IP address like 9.9.9.9, 127.0.0.1:5353 or [2620:fe::fe]:53"
)
ARN = (
    "each, separated by commas,"
    " must be an SNS topic like arn:aws:sns:eu-west-1:123456789012:ses-events"
)
HOOK_KEY = (
    "each, separated by commas,"
    " must be the verification key that SendGrid shows, beginning with MFkw"
)
LABEL = "must be at most 64 letters, digits, - and _"
LONG = "x" * 200


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("SENDING_MODE", "test", "must be sandbox or live, not 'test'"),
        ("ESP_DISTRIBUTION", "fair", "must be priority or balanced, not 'fair'"),
        ("DNS_GATE", "on", "must be block, warn or off, not 'on'"),
        # Databases: the text may hold a password, so it is not repeated.
        ("DATABASE_URL", "mysql://u:p@h/d", DATABASE),
        ("DATABASE_URL", "data/email.db", DATABASE),
        ("DATA_DIR", "README.md", "must be a folder, not 'README.md'"),
        ("DATABASE_URL", "sqlite://", DATABASE),
        ("DATABASE_URL", "sqlite:///", DATABASE),
        ("DATABASE_URL", "sqlite:///:memory:", DATABASE),
        ("DATABASE_URL", "sqlite:///data/", DATABASE),
        ("DATABASE_URL", "postgresql://host", DATABASE),
        ("DATABASE_URL", "postgresql://u:p@h:port/d", DATABASE),
        # Our own secrets.
        ("API_KEY", "changeme", API),
        ("API_KEY", "secret", API),
        ("API_KEY", "dev", API),
        ("API_KEY", "changemechangeme", API),
        ("API_KEY", "with a blank 0123456", ASCII),
        ("SECRET_KEY", f"{SECRET_KEY},short", SIGNER),
        ("SECRET_KEY", ",", SIGNER),
        ("HOST", "mail.example.com", f"{HOST}, not 'mail.example.com'"),
        ("PORT", "0", f"{NUMBER} 65535, not '0'"),
        ("PORT", "65536", f"{NUMBER} 65535, not '65536'"),
        ("PORT", "8_0", f"{NUMBER} 65535, not '8_0'"),
        ("PORT", "٣٤", f"{NUMBER} 65535, not '٣٤'"),
        ("PORT", LONG, f"{NUMBER} 65535, not '{LONG[:60]}…'"),
        ("PUBLIC_BASE_URL", "mail.example.com", f"{URL}, not 'mail.example.com'"),
        ("PUBLIC_BASE_URL", "https://", f"{URL}, not 'https://'"),
        ("PUBLIC_BASE_URL", "https://h:99999", f"{URL}, not 'https://h:99999'"),
        ("PUBLIC_BASE_URL", "https://h/?a=b", f"{URL}, not 'https://h/?a=b'"),
        ("PUBLIC_BASE_URL", "https://u:p@h", f"{URL}, not a URL with a password"),
        ("PUBLIC_BASE_URL", "https://h\nX: y", f"{URL}, not 'https://h\\nX: y'"),
        ("PUBLIC_BASE_URL", "http://mail.example.com", f"{HTTPS}, not 'http://mail.example.com'"),
        ("PUBLIC_BASE_URL", "ftp://127.0.0.1", f"{HTTPS}, not 'ftp://127.0.0.1'"),
        ("SENDGRID_BASE_URL", "http://127.0.0.1.org", f"{HTTPS}, not 'http://127.0.0.1.org'"),
        ("AWS_ENDPOINT_URL_SESV2", "http://10.0.0.1", f"{HTTPS}, not 'http://10.0.0.1'"),
        ("POSTMARK_BASE_URL", "localhost:80", f"{URL}, not 'localhost:80'"),
        ("FROM_EMAIL", "news", f"{ADDRESS}, not 'news'"),
        ("FROM_EMAIL", "News <n@example.com>", f"{ADDRESS}, not 'News <n@example.com>'"),
        (
            "FROM_EMAIL",
            "a@b.example\r\nBcc: c@d.example",
            ADDRESS + r", not 'a@b.example\r\nBcc: c@d.example'",
        ),
        ("FROM_EMAIL", "a@bücher.example", f"{ADDRESS}, not 'a@bücher.example'"),
        ("FROM_EMAIL", "a..b@example.com", f"{ADDRESS}, not 'a..b@example.com'"),
        ("FROM_NAME", "a\nb", f"{ONE_LINE}, not 'a\\nb'"),
        ("ALLOWED_SENDERS", "example.com", f"{SENDERS}, not 'example.com'"),
        ("ALLOWED_SENDERS", "@example.com,@", f"{SENDERS}, not '@example.com,@'"),
        ("ALLOWED_SENDERS", "@bücher.example", f"{SENDERS}, not '@bücher.example'"),
        ("ALLOWED_SENDERS", "NEWS@example.com", "must also hold FROM_EMAIL, or its domain"),
        ("ALLOWED_SENDERS", "@sub.example.com", "must also hold FROM_EMAIL, or its domain"),
        ("POSTAL_ADDRESS", "a\u2028b", f"{ONE_LINE}, not 'a\\u2028b'"),
        ("FROM_NAME", "caf\udce9", "must be UTF-8 text"),
        ("SENDING_DOMAIN", "127.0.0.1", f"{DOMAIN}, not '127.0.0.1'"),
        ("SENDING_DOMAIN", "-a.example", f"{DOMAIN}, not '-a.example'"),
        ("TRUSTED_PROXY_HOPS", "6", "must be a whole number from 0 to 5, not '6'"),
        ("FAILPOINT", "body-send", f"{PLACE}, not 'body-send'"),
        ("FAILPOINT", "body-sent:0", f"{PLACE}, not 'body-sent:0'"),
        ("SYNC_BUDGET_SECONDS", "901", "must be a whole number from 0 to 900, not '901'"),
        ("DNS_NAMESERVERS", "9.9.9.9,dns.example", f"{DNS}, not '9.9.9.9,dns.example'"),
        ("DNS_NAMESERVERS", "9.9.9.9:0", f"{DNS}, not '9.9.9.9:0'"),
        ("DOMAIN_SETUP_FILE", "no/such", "must be a file that exists, not 'no/such'"),
        ("SNS_CERT_DIR", "pyproject.toml", "must be a directory that exists, not 'pyproject.toml'"),
        ("AWS_REGION", "Ireland", "must be a region like eu-west-1, not 'Ireland'"),
        ("SES_SNS_TOPIC_ARNS", f"{TOPIC},arn:aws:sns", f"{ARN}, not '{TOPIC},arn:aws:sns'"),
        ("SES_CONFIGURATION_SET", "a b", f"{LABEL}, not 'a b'"),
        ("POSTMARK_MESSAGE_STREAM", "a/b", f"{LABEL}, not 'a/b'"),
        ("POSTMARK_TRANSACTIONAL_STREAM", "a/b", f"{LABEL}, not 'a/b'"),
        ("SENDGRID_WEBHOOK_PUBLIC_KEY", "SG.private", HOOK_KEY),
        ("SENDGRID_API_KEY", "SG.a b", ASCII),
        ("AWS_ACCESS_KEY_ID", "A B", ASCII),
        ("AWS_SECRET_ACCESS_KEY", "a\nb", ASCII),
        ("POSTMARK_API_KEY", "clé", ASCII),
        ("POSTMARK_ACCOUNT_TOKEN", "a b", ASCII),
        ("SENDGRID_PRIORITY", "0", f"{NUMBER} 100, not '0'"),
        ("SES_PER_SECOND", "0", f"{RATE}, not '0'"),
        ("SES_PER_SECOND", "inf", f"{RATE}, not 'inf'"),
        ("SES_PER_SECOND", "-1", f"{RATE}, not '-1'"),
        ("POSTMARK_DAILY_LIMIT", "0", f"{NUMBER} 1000000000, not '0'"),
        ("POSTMARK_MONTHLY_LIMIT", "many", f"{NUMBER} 1000000000, not 'many'"),
        ("SENDGRID_BATCH_SIZE", "5000", f"{NUMBER} 1000, not '5000'"),
        ("SES_BATCH_SIZE", "51", f"{NUMBER} 50, not '51'"),
        ("POSTMARK_BATCH_SIZE", "501", f"{NUMBER} 500, not '501'"),
        ("SENDGRID_CONCURRENCY", "65", f"{NUMBER} 64, not '65'"),
    ],
)
def test_fault(name: str, text: str, expected: str) -> None:
    assert faults({**KEYS, name: text}) == [f"{name}: {expected}"]


@pytest.mark.parametrize(
    ("place", "is_writable", "is_fault"),
    [
        ("folder", True, False),
        ("folder/not/there/yet", True, False),
        ("folder", False, True),
        ("folder/not/there/yet", False, True),
        ("file/below", True, True),
        ("nowhere", True, True),
    ],
)
def test_a_place_for_the_mark_of_postgresql_is_looked_at_before_the_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    is_writable: bool,
    is_fault: bool,
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    monkeypatch.setattr("os.access", lambda *_: is_writable)
    said = {**KEYS, "DATA_DIR": str(tmp_path / place)}
    told = (
        "DATA_DIR: must be a folder that can be written: it keeps the mark of a PostgreSQL database"
    )
    on_postgresql = {**said, "DATABASE_URL": "postgresql://u@h/d"}
    if is_fault:
        assert faults(on_postgresql) == [told]
    else:
        assert load(on_postgresql).data_dir == tmp_path / place
    assert load({**said, "DATABASE_URL": f"sqlite:///{tmp_path}/email.db"})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {},
            [
                "API_KEY: must be set: run ./setup.sh, or write 16 random characters or more",
                "SECRET_KEY: must be set: run ./setup.sh, or write 32 random characters or more",
            ],
        ),
        (
            KEYS | {"SENDING_MODE": "live"},
            [
                "PUBLIC_BASE_URL: must be set in live mode, like https://mail.example.com",
                "FROM_EMAIL: must be set in live mode, like news@example.com",
                "POSTAL_ADDRESS: must be set in live mode: the law asks for it in every mail",
                "SENDING_MODE: live needs the key of at least one ESP:"
                " SENDGRID_API_KEY, AWS_ACCESS_KEY_ID, POSTMARK_API_KEY"
                + "".join(f", {esp.key}" for name, esp in ESPS.items() if name not in THREE),
            ],
        ),
        (
            LIVE | SES | {"AWS_SECRET_ACCESS_KEY": "", "AWS_REGION": "your_aws_region_here"},
            [
                "AWS_SECRET_ACCESS_KEY: must be set, since AWS_ACCESS_KEY_ID is",
                "AWS_REGION: must be set with AWS keys, like eu-west-1",
            ],
        ),
        (
            LIVE | {"AWS_SECRET_ACCESS_KEY": "aws/secret"},
            ["AWS_ACCESS_KEY_ID: must be set, since AWS_SECRET_ACCESS_KEY is"],
        ),
        (
            KEYS | {"POSTMARK_WEBHOOK_USER": "hook"},
            ["POSTMARK_WEBHOOK_PASSWORD: must be set, since POSTMARK_WEBHOOK_USER is"],
        ),
        (
            KEYS | {"POSTMARK_WEBHOOK_USER": "a:b", "POSTMARK_WEBHOOK_PASSWORD": "p q"},
            [
                "POSTMARK_WEBHOOK_USER: must not contain a colon",
                f"POSTMARK_WEBHOOK_PASSWORD: {ASCII}",
            ],
        ),
        (
            # One ESP of two is real.
            LIVE
            | SES
            | {
                "PUBLIC_BASE_URL": "http://127.0.0.1:5000",
                "SENDGRID_BASE_URL": "http://127.0.0.1:8025",
            },
            [
                "PUBLIC_BASE_URL: must be an https URL that recipients can reach,"
                " since mail goes to a real ESP"
            ],
        ),
        (
            LIVE | SES | {"FAILPOINT": "body-sent", "SENDGRID_BASE_URL": "http://127.0.0.1:8025"},
            ["FAILPOINT: is for tests: it kills the server, so no real ESP may be set"],
        ),
        (
            KEYS | {"PORT": "http", "SES_BATCH_SIZE": "-1", "HOST": "box"},
            [
                f"PORT: {NUMBER} 65535, not 'http'",
                f"SES_BATCH_SIZE: {NUMBER} 50, not '-1'",
                f"HOST: {HOST}, not 'box'",
            ],
        ),
    ],
)
def test_faults_are_told_all_at_once(environ: dict[str, str], expected: list[str]) -> None:
    assert faults(environ) == expected


def test_live_has_every_esp_with_a_key() -> None:
    more = {
        "SENDGRID_WEBHOOK_PUBLIC_KEY": f"{PUBLIC_KEY},{PUBLIC_KEY}",
        "SES_CONFIGURATION_SET": "news",
        "SES_SNS_TOPIC_ARNS": TOPIC,
        "SNS_CERT_DIR": "tests",
        "SES_DAILY_LIMIT": "200",
        "POSTMARK_API_KEY": "pm-key",
        "POSTMARK_ACCOUNT_TOKEN": "pm-account",
        "POSTMARK_WEBHOOK_USER": "hook",
        "POSTMARK_WEBHOOK_PASSWORD": "pm-hook",
    }
    settings = load(LIVE | SES | more)
    assert settings == replace(
        DEFAULTS,
        sending_mode=SendingMode.LIVE,
        public_base_url="https://mail.example.com",
        postal_address="1 Main Street, Springfield",
        dns_gate=DnsGate.BLOCK,
        esp_limits=LIMITS | {EspName.SES: replace(LIMITS[EspName.SES], daily_limit=200)},
        esps={
            EspName.SENDGRID: SendGridConfig(
                name=EspName.SENDGRID,
                priority=1,
                batch_size=100,
                concurrency=4,
                api_key="SG.sendgrid-key",
                webhook_public_keys=(PUBLIC_KEY, PUBLIC_KEY),
            ),
            EspName.SES: SesConfig(
                name=EspName.SES,
                priority=2,
                batch_size=50,
                concurrency=4,
                daily_limit=200,
                access_key_id="AKIAEXAMPLE",
                secret_access_key="aws/secret",
                region="eu-west-1",
                configuration_set="news",
                sns_topic_arns=(TOPIC,),
                sns_cert_dir=ROOT / "tests",
            ),
            EspName.POSTMARK: PostmarkConfig(
                name=EspName.POSTMARK,
                priority=3,
                batch_size=100,
                concurrency=4,
                api_key="pm-key",
                account_token="pm-account",
                webhook_user="hook",
                webhook_password="pm-hook",
            ),
        },
    )


def test_live_on_one_machine_needs_no_https() -> None:
    settings = load(
        LIVE
        | {
            "PUBLIC_BASE_URL": "http://localhost:5000/",
            "SENDGRID_BASE_URL": "http://127.0.0.1:8025/",
        }
    )
    assert settings.public_base_url == "http://localhost:5000"
    assert settings.esps == {
        EspName.SENDGRID: SendGridConfig(
            name=EspName.SENDGRID,
            priority=1,
            batch_size=100,
            concurrency=4,
            api_key="SG.sendgrid-key",
            base_url="http://127.0.0.1:8025",
        )
    }


def test_sandbox_uses_no_real_key_and_asks_for_none() -> None:
    settings = load(LIVE | SES | {"SENDING_MODE": "sandbox", "AWS_REGION": ""})
    assert settings.esps == {}
    urls = {name: f"http://127.0.0.1:8025/{name}" for name in THREE}
    assert sandbox_esps(replace(settings, esp_limits=LIMITS), urls) == {
        EspName.SENDGRID: SendGridConfig(
            name=EspName.SENDGRID,
            priority=1,
            batch_size=100,
            concurrency=4,
            api_key="sandbox",
            base_url="http://127.0.0.1:8025/sendgrid",
        ),
        EspName.SES: SesConfig(
            name=EspName.SES,
            priority=2,
            batch_size=50,
            concurrency=4,
            access_key_id="sandbox",
            secret_access_key="sandbox",
            region="us-east-1",
            base_url="http://127.0.0.1:8025/ses",
        ),
        EspName.POSTMARK: PostmarkConfig(
            name=EspName.POSTMARK,
            priority=3,
            batch_size=100,
            concurrency=4,
            api_key="sandbox",
            account_token="sandbox",
            base_url="http://127.0.0.1:8025/postmark",
        ),
    }


SECRETS = {
    "API_KEY": "hidden-0123456789abc",
    "READ_API_KEYS": "hidden-read-0123456789",
    "SIGN_UP_API_KEYS": "hidden-sign-up-0123456789",
    "SEND_API_KEYS": "hidden-send-0123456789",
    "SECRET_KEY": "hidden-0123456789abcdefghijklmnop",
    "DATABASE_URL": "postgresql://user:hidden-password@localhost/email",
    "SENDGRID_API_KEY": "hidden-sendgrid",
    "AWS_ACCESS_KEY_ID": "hidden-id",
    "AWS_SECRET_ACCESS_KEY": "hidden-aws",
    "POSTMARK_API_KEY": "hidden-postmark",
    "POSTMARK_ACCOUNT_TOKEN": "hidden-account",
    "POSTMARK_WEBHOOK_PASSWORD": "hidden-hook",
}


def test_secrets_are_not_in_repr() -> None:
    settings = load(LIVE | SECRETS | {"AWS_REGION": "eu-west-1", "POSTMARK_WEBHOOK_USER": "hook"})
    assert tuple(settings.esps) == THREE
    assert "hidden" not in repr(settings)


def test_an_esp_may_lack_some_of_its_secrets() -> None:
    without = {"POSTMARK_API_KEY": "pm-key"}
    assert secrets_of(load(LIVE | without)) == {API_KEY, SECRET_KEY, "SG.sendgrid-key", "pm-key"}


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_not_in_faults(name: str) -> None:
    pair = {"POSTMARK_WEBHOOK_USER": "hook", "POSTMARK_WEBHOOK_PASSWORD": "pm-hook"}
    # A byte order mark makes any of them wrong.
    (told,) = faults(KEYS | pair | {name: "\ufeff" + SECRETS[name]})
    assert told.startswith(f"{name}: ")
    assert "hidden" not in told


@pytest.mark.parametrize("name", ["READ_API_KEYS", "SIGN_UP_API_KEYS", "SEND_API_KEYS"])
def test_no_key_is_for_two_things(name: str) -> None:
    others = {"READ_API_KEYS": "a-key-that-reads-0123"} if name != "READ_API_KEYS" else {}
    for key in (API_KEY, *others.values()):
        told = faults(KEYS | others | {name: f"a-key-of-its-own-9876,{key}"})
        assert told == [f"{name}: must hold no key that is in API_KEY or another list"]


def test_process_environment_wins_over_the_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(
        f"API_KEY={API_KEY}\nSECRET_KEY='{SECRET_KEY}'\n"
        'export PORT=8000 # remark\nFROM_NAME="${PORT} # $HOME"\nFROM_EMAIL=a@b.example\n'
    )
    # Nothing is interpolated; an empty variable of the process unsets one of the file.
    assert load_settings({"PORT": "9000", "FROM_EMAIL": ""}, env_file) == replace(
        DEFAULTS, port=9000, public_base_url="http://127.0.0.1:9000", from_name="${PORT} # $HOME"
    )


def test_without_a_file_the_environment_is_enough(tmp_path: Path) -> None:
    assert load_settings(KEYS, tmp_path / ".env") == DEFAULTS


def test_unknown_names_in_the_file_are_warned_of(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("\n# remark\nSENDGRID_PRIORTY=2\n\nSG.a-pasted-key==\n")
    assert load_settings({**KEYS, "PATH": "/bin"}, env_file) == replace(
        DEFAULTS,
        warnings=(
            ".env, line 3: no such setting; did you mean SENDGRID_PRIORITY?",
            ".env, line 5: no such setting",
        ),
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b"PORT=5000\n\nSG.a-pasted-key\nFROM_NAME='a\n",
            [
                ".env, line 3: must be NAME=value, with quotes in pairs",
                ".env, line 4: must be NAME=value, with quotes in pairs",
            ],
        ),
        (b"FROM_NAME=caf\xe9\n", [".env: must be UTF-8 text"]),
    ],
)
def test_file_that_cannot_be_read(tmp_path: Path, content: bytes, expected: list[str]) -> None:
    (tmp_path / ".env").write_bytes(content)
    assert faults(KEYS, tmp_path / ".env") == expected


def test_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert faults(KEYS, tmp_path / ".env") == [".env: cannot be read: Is a directory"]
