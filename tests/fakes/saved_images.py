"""Publishers of Clonezilla images: what a test puts into a Drive folder, a web server's folder, or a local one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from fakes.clonezilla import iso_of, small_disk, small_image, write_files
from fakes.drive import FakeDrive
from fakes.repository import DISK, document
from fakes.web import WebServer
from pragma_boot.config.settings import RepositorySettings

SMALL = small_disk(DISK)


def settings(root: Path, url: str, **others: object) -> RepositorySettings:
    """Of a site whose repository is kept in *root*/here."""
    here = root / "here"
    chosen = {
        "repository_url": url,
        "local_image_url": "file://$repository_dir/$imagename.qcow2",
        "include_images": (),
        "exclude_images": (),
        "resource_keys": {},
        **others,
    }
    return RepositorySettings("clonezilla", here, here / "vcdb.txt", root / "cache", chosen)


class DrivePublisher:
    """Images as ISOs in a fake Drive."""

    def __init__(self, drive: FakeDrive, url: str, work: Path) -> None:
        self.drive, self._work = drive, work
        drive.page = 2
        self.settings = settings(work, drive.ROOT, google_api_key=drive.key, google_api_endpoint=url)

    def offer(self, name: str, disk: bytes = SMALL, **more: bytes) -> str:
        folder = self.drive.folder(name)
        self.drive.file(f"{name}.xml", document("any.img").encode(), folder)
        self.drive.file(f"{name}-md5sums.txt", b"x", folder)
        self.drive.file(f"{name}-frontend.1G.iso", iso_of(small_image(disk), self._work), folder)
        for file, data in more.items():
            self.drive.file(file, data, folder)
        return folder

    def offer_broken(self, name: str) -> None:
        self.drive.file("broken.xml", document("any.img").encode(), self.drive.folder(name))

    def withdraw(self, name: str) -> None:
        gone = next(ident for ident, file in self.drive.files.items() if file.name == name)
        del self.drive.files[gone]


class WebPublisher:
    """Images as bare image directories of a web server that lists its folders."""

    def __init__(self, server: WebServer, work: Path) -> None:
        self._server = server
        self.settings = settings(work, f"{server.url}/saved/", local_image_url="file://$repository_dir/$imagename.raw")
        self._names: list[str] = []
        self._list()

    def offer(self, name: str, disk: bytes = SMALL) -> None:
        self._put(name, {f"{name}.xml": document("any.img").encode()})
        self._put(f"{name}/{name}-frontend", small_image(disk))
        self._page(name, [f"{name}.xml", f"{name}-frontend/"])
        self._names.append(name)
        self._list()

    def offer_broken(self, name: str) -> None:
        self._put(name, {f"{name}.xml": document("any.img").encode()})
        self._page(name, [f"{name}.xml"])
        self._names.append(name)
        self._list()

    def withdraw(self, name: str) -> None:
        self._names.remove(name)
        self._list()

    def _put(self, folder: str, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            self._server.put(f"/saved/{folder}/{name}", data)
        self._page(folder, list(files))

    def _list(self) -> None:
        self._page("", [f"{name}/" for name in self._names])

    def _page(self, folder: str, names: list[str]) -> None:
        links = "".join(f'<a href="{name}">{name}</a>\n' for name in ("../", "?C=M;O=D", *names))
        path = f"/saved/{folder}/" if folder else "/saved/"
        self._server.put(path, f"<html><body><pre>{links}</pre></body></html>", kind="text/html")


class FolderPublisher:
    """Images as bare image directories of a local folder, which a server may show at *url*."""

    def __init__(self, work: Path, folder: Path | None = None, url: str = "", **others: object) -> None:
        self.folder = folder or work / "there"
        self.folder.mkdir()
        self.settings = settings(work, url or str(self.folder), **others)

    def offer(self, name: str, disk: bytes = SMALL, xml: str = "") -> Path:
        folder = self.offer_broken(name, xml)
        write_files(folder / f"{name}-frontend", small_image(disk))
        return folder

    def offer_broken(self, name: str, xml: str = "") -> Path:
        return write_files(self.folder / name, {f"{name}.xml": (xml or document("any.img")).encode()})

    def withdraw(self, name: str) -> None:
        shutil.rmtree(self.folder / name)
