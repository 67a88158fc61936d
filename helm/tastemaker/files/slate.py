"""Ask the edge for a slate, for a minute; print it. Exit status 1 without one."""

import json
import os
import sys
import time
import urllib.request

end = time.monotonic() + 60
while True:
    try:
        with urllib.request.urlopen(os.environ["URL"], timeout=10) as answer:
            slate = json.load(answer)
        break
    except OSError as error:
        print(f"{os.environ['URL']}: {error}")
        if time.monotonic() > end:
            sys.exit("No slate. Without a model there is none: see the notes of this release (helm get notes).")
        time.sleep(2)
if not slate["items"]:
    sys.exit(f"The slate is empty: {slate}")
print(f"{len(slate['items'])} items, served from {slate['served_from']} by {slate['model_version']}:")
print(" ".join(item["item_id"] for item in slate["items"]))
