"""Wait until $URL answers 200."""

import os
import time
import urllib.request

while True:
    try:
        with urllib.request.urlopen(os.environ["URL"], timeout=5):
            break
    except OSError as error:
        print(f"waiting for {os.environ['URL']}: {error}")
        time.sleep(5)
