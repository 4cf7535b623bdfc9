#!/usr/bin/env python3
"""Counts the test cases of one `bazel test`.

    deploy/count_tests.py EVENTS.json BAZEL_EXIT_STATUS

Reads the build events (bazel --build_event_json_file) and the test.xml files that they name, so that results of
other runs never count. Prints what failed, then `N passed, N failed` (`, N skipped` where there are any), and
exits with 1 unless something passed and nothing failed. Called by deploy/test.sh.
"""

import json
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree

TESTS_FAILED = 3  # Bazel's exit status when all was built and a test failed


def read_results(path):
    """Returns {(label, run, shard): result} of the last attempts."""
    results = {}
    with open(path, encoding="utf-8") as events:
        for line in events:
            event = json.loads(line)
            key = event.get("id", {}).get("testResult")
            if key and "testResult" in event:
                attempt = (key["label"], key.get("run", 1), key.get("shard", 1))
                results[attempt] = event["testResult"]
    return results


def xml_path(result):
    for output in result.get("testActionOutput", []):
        if output["name"] == "test.xml":
            return urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
    return None


def count_cases(path):
    """Returns (passed, names of failed, skipped) of one test.xml."""
    passed, failed, skipped = 0, [], 0
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname', '')}.{case.get('name', '')}".strip(".")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def main():
    events, status = sys.argv[1], int(sys.argv[2])
    passed, failed, skipped = 0, 0, 0
    for (label, _, _), result in sorted(read_results(events).items()):
        try:
            good, bad, left_out = count_cases(xml_path(result))
        except (OSError, TypeError, ElementTree.ParseError):
            good, bad, left_out = 0, [], 0
        if result.get("status") != "PASSED" and not bad:
            # Died, or ran out of time, before it could say which case failed.
            bad = [result.get("status", "no status")]
        elif not good and not bad and not left_out:
            print(f"note: {label} ran no test case")
        for name in bad:
            print(f"FAILED: {label} {name}")
        passed, failed, skipped = passed + good, failed + len(bad), skipped + left_out
    if status not in (0, TESTS_FAILED):
        print(f"bazel ended with status {status}: the build failed, or there was nothing to test")
        passed, failed, skipped = 0, 1, 0
    elif passed + failed == 0 or (status == TESTS_FAILED and failed == 0):
        print("no test case ran, or a test has no result")
        failed += 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
