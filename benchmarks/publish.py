"""Makes asv's graphs a page that works without a network: python benchmarks/publish.py.

asv's page loads scripts and a style sheet from other sites. This script runs `asv publish`, downloads those files once,
checks their digests, which the page itself names, and puts them beside the page. It needs the network the first time;
later it takes the files from .asv/scripts. Then `python -m http.server --directory .asv/html` shows the graphs.
"""

import base64
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pooch

ASV = Path(__file__).parents[1] / ".asv"
PAGE, SCRIPTS = ASV / "html" / "index.html", ASV / "scripts"
# The address of a file on another site, its digest, and the attributes that only such addresses need.
REMOTE = re.compile(
    r'"(?P<url>https://[^"]+/(?P<name>[^"/]+))" integrity="(?P<algorithm>sha\d+)-(?P<digest>[^"]+)"'
    r'(?: (?:crossorigin|referrerpolicy)="[^"]*")*'
)


def with_own_scripts(page: Path, scripts: Path) -> list[str]:
    """Put the files that a page loads from other sites beside it, downloading those that are not in `scripts` yet.

    Returns the names of the files. A download that does not have the digest that the page names is a ValueError.
    """
    html, beside = page.read_text(), page.parent / "scripts"
    beside.mkdir(exist_ok=True)
    names = []
    for remote in REMOTE.finditer(html):
        digest = f"{remote['algorithm']}:{base64.b64decode(remote['digest']).hex()}"
        shutil.copy(pooch.retrieve(remote["url"], digest, fname=remote["name"], path=scripts), beside)
        names.append(remote["name"])
    page.write_text(REMOTE.sub(r'"scripts/\g<name>"', html))
    return names


def main() -> None:
    """Publish, and make the page independent of other sites."""
    subprocess.run([sys.executable, "-m", "asv", "publish"], check=True)
    try:
        names = with_own_scripts(PAGE, SCRIPTS)
    except OSError as error:
        raise SystemExit(f"{PAGE} still needs a network, because its scripts cannot be downloaded: {error}") from error
    print(f"{PAGE} works without a network, with {', '.join(names)} beside it")


if __name__ == "__main__":
    main()
