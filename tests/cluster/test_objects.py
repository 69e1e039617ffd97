"""Objects: whole or not at all, on a condition where two could write."""

import pytest
from storage_server import BUCKET, Handler, Proxy

from personahub_assets.core.errors import AccessError, ConfigError, StoreError
from personahub_assets.core.object_homes import address_of, check_address, working_copy
from personahub_assets.store.commits import Commits
from personahub_assets.store.objects import Conflict, Objects


@pytest.fixture
def objects(url: str) -> Objects:
    return Objects(url)


def test_an_object_is_written_on_a_condition(objects):
    first = objects.write("a/b", b"one", "absent")
    assert objects.read("a/b") == (b"one", first)
    with pytest.raises(Conflict, match="written by another process"):
        objects.write("a/b", b"two", "absent")
    second = objects.write("a/b", b"two", first.etag)
    with pytest.raises(Conflict):
        objects.write("a/b", b"three", first.etag)
    assert objects.head("a/b") == second
    objects.delete("a/b")
    objects.delete("a/b")
    assert objects.head("a/b") is None
    assert objects.read("a/b") is None
    with pytest.raises(Conflict):  # a version was expected
        objects.write("a/b", b"three", second.etag)


def test_a_large_file_comes_back_whole(objects, tmp_path):
    file, back = tmp_path / "file", tmp_path / "back"
    file.write_bytes(bytes(range(256)) * 160_000)  # sent in pieces
    written = objects.write("large", file, "any")
    assert objects.download("large", back) == written
    assert back.read_bytes() == file.read_bytes()
    assert objects.download("absent", back) is None


def test_an_upload_that_fails_once_is_sent_again(objects, bucket):
    failed = []

    def once(proxy: Proxy, handler: Handler, body: bytes) -> bool:
        if handler.command != "PUT" or failed:
            return False
        failed.append(handler.path)
        handler.answer(503, {}, b"")
        return True

    bucket.trouble = once
    objects.write("key", b"content", "absent")
    assert failed
    assert objects.read("key")[0] == b"content"


def test_a_write_whose_answer_is_lost_is_no_conflict_with_itself(objects, bucket):
    lost = []

    def lose(proxy: Proxy, handler: Handler, body: bytes) -> bool:
        if handler.command != "PUT" or lost:
            return False
        proxy.forward(handler.command, handler.path, dict(handler.headers), body)
        lost.append(handler.path)
        handler.break_off()
        return True

    bucket.trouble = lose
    objects.write("key", b"content", "absent")
    assert lost
    assert objects.read("key")[0] == b"content"


def test_a_torn_object_is_recognised(objects, bucket, tmp_path):
    def tear(proxy: Proxy, handler: Handler, body: bytes) -> bool:
        if handler.command != "PUT":
            return False
        handler.answer(*proxy.forward("PUT", handler.path, dict(handler.headers), body[: len(body) // 2]))
        return True

    bucket.trouble = tear
    objects.write("key", b"content", "absent")
    for reading in (lambda: objects.read("key"), lambda: objects.download("key", tmp_path / "file")):
        with pytest.raises(StoreError, match=r"key is damaged: 3 bytes.*Put a copy back"):
            reading()


def test_a_missing_bucket_and_a_silent_server_are_named(url, monkeypatch):
    with pytest.raises(
        AccessError, match=r"cannot write s3://no-such-bucket/home/key.*NoSuchBucket.*Create that bucket"
    ):
        Objects("s3://no-such-bucket/home").write("key", b"", "absent")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(AccessError, match=r"cannot read s3://bucket/.*error sending request"):
        Objects(url).read("key")


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (403, "AccessDenied", "Allow the owner of AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "Correct AWS_ACCESS_KEY_ID"),
        (400, "ExpiredToken", "Get new temporary keys"),
        (403, "RequestTimeTooSkewed", "Set the clock"),
        (400, "AuthorizationHeaderMalformed", "AWS_REGION to the region of the bucket; it is 'us-east-1'"),
        (301, "PermanentRedirect", "AWS_REGION"),
        (409, "OddCode", "Check that 'bucket' exists"),
    ],
)
def test_a_refusal_has_its_reason_and_remedy_at_once(objects, bucket, status, code, remedy):
    def refuse(proxy: Proxy, handler: Handler, body: bytes) -> bool:
        handler.answer(status, {}, f"<Error><Code>{code}</Code><StringToSign>secret</StringToSign></Error>".encode())
        return True

    before = len(bucket.requests)
    bucket.trouble = refuse
    with pytest.raises(AccessError, match=remedy) as refused:
        objects.head("key")  # its answer has no body
    assert len(bucket.requests) - before <= 2
    assert status == 301 or code in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_web_page_is_no_object_storage(objects, bucket):
    def answer(proxy: Proxy, handler: Handler, body: bytes) -> bool:
        handler.answer(200, {}, b"<html>sign in</html>")
        return True

    bucket.trouble = answer
    with pytest.raises(AccessError, match="perhaps a web page"):
        Commits(objects).last()


def test_a_server_without_a_scheme_is_refused(url, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    with pytest.raises(ConfigError, match=r"AWS_ENDPOINT_URL=localhost:9000.*http://"):
        Objects(url).head("key")


@pytest.mark.parametrize("home", [f"s3://{BUCKET}/home", "gs://b/x/y-z_1", "s3://b", "az://c/Größe X"])
def test_the_name_of_a_working_copy_is_the_address(home, tmp_path):
    copy = working_copy(home, tmp_path)
    assert copy.parent == tmp_path
    assert address_of(copy) == home
    assert "=" not in copy.name


def test_a_folder_is_no_working_copy(tmp_path):
    assert address_of(tmp_path / "hub") is None
    assert address_of(tmp_path / "s3~3a~2f~2f") is None


@pytest.mark.parametrize(
    ("home", "reason"),
    [
        ("s3://key:secret@bucket/home", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket/home?x=1", "the address alone"),
        ("ftp://host/home", "s3://bucket/home, gs://bucket/home"),
        ("s3:///home", "valid"),
        ("s3://", "PERSONAHUB_HOME=s3:// is not"),
        ("s3:/bucket/home", "az://container/home, or a folder"),
        ("S3://bucket/home", "valid"),
        (" s3://bucket/home", "valid"),
        ("s3://bucket/../home", "valid"),
        ("s3://b/" + "x" * 300, "too long"),
    ],
)
def test_another_address_is_refused(home, reason, tmp_path):
    with pytest.raises(ConfigError, match=reason) as refused:
        working_copy(home, tmp_path)
    assert "secret" not in str(refused.value)
    if "too long" not in reason:
        with pytest.raises(ConfigError):
            check_address(home)
