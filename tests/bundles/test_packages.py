"""Bundles that installed packages bring: found by metadata, never imported, checked as a stranger's."""

import shutil

import pytest

import kerasdl
from kerasdl import BundleError, load_bundle
from kerasdl.bundles import listing


@pytest.fixture
def install(tmp_path, monkeypatch):
    def install(package, bundle="flowers", content=None, file="flowers.zip", listed=True):
        site = tmp_path / package
        folder, info = site / package / "files", site / f"{package}-1.0.dist-info"
        folder.mkdir(parents=True)
        info.mkdir()
        (site / package / "__init__.py").write_text("raise SystemExit('imported')")
        if content is None:
            shutil.copy(listing.EMBEDDED / "digits_mobilenet.zip", folder / "flowers.zip")
        else:
            (folder / "flowers.zip").write_bytes(content)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[kerasdl.bundles]\n{bundle} = {package}.files:{file}\n")
        (info / "RECORD").write_text(f"{package}/files/flowers.zip,,\n" if listed else "")
        monkeypatch.syspath_prepend(str(site))

    return install


def test_a_package_brings_a_bundle_of_which_nothing_is_imported(install):
    before = kerasdl.bundles.list_bundles()
    install("garden")
    assert sorted(set(kerasdl.bundles.list_bundles()) - set(before)) == ["flowers"]
    assert kerasdl.bundles.package_of("flowers") == "garden"
    assert load_bundle("flowers").digest == load_bundle("digits_mobilenet").digest
    assert kerasdl.bundles.package_of("digits_mobilenet") == "kerasdl"


def test_two_packages_with_one_name_are_refused_and_embedded_names_win(install):
    install("garden")
    install("meadow", bundle="digits_mobilenet", content=b"no zip")
    assert kerasdl.bundles.package_of("digits_mobilenet") == "kerasdl"
    assert len(load_bundle("digits_mobilenet").labels) == 10
    install("park")
    with pytest.raises(BundleError, match="garden and park both declare 'flowers'"):
        kerasdl.bundles.list_bundles()


@pytest.mark.parametrize("wrong", [{"file": "roses.zip"}, {"listed": False}, {"file": "__init__.py"}])
def test_a_file_that_the_package_did_not_install_is_named(install, wrong):
    install("garden", **wrong)
    with pytest.raises(BundleError, match=r"garden must install the .zip of its bundle 'flowers'; there is no garden/"):
        load_bundle("flowers")


def test_what_a_package_brings_is_checked_as_a_strangers(install):
    install("garden", content=b"PK\x03\x04 no more")
    with pytest.raises(BundleError):
        load_bundle("flowers")
