"""An operator's way through the pages in a real browser, and what every page must be: run by scripts/browse."""

import os
import sys

import checks
from stack import HOSTILE, Stack
from webdriver import Browser, Failure, wait_for

WIDE, PHONE = (1280, 800), (390, 844)
LOOKS = (("light", WIDE, "light"), ("dark", WIDE, "dark"), ("phone", PHONE, "light"))
HEALTHY, ILL, REFUSED, FLAKY = 40, 3, 4, 2


def say(text):
    """A line of the report."""
    print(f"browse: {text}", flush=True)


def fill(stack):
    """Postbacks of every fate; the ids of those that fail until the partner is healed."""
    stack.send("/ok", HEALTHY)
    stack.send("/status/404", REFUSED, method="PUT")
    stack.send("/flaky/1", FLAKY, method="DELETE", retries=["1s"])
    stack.send("http://127.0.0.1:9/closed", 2, method="PATCH", retries=[])
    stack.send("/later", 1, delay="1h")
    # In a lane of their own: these failures hold up no others.
    ill = stack.send("/ill", ILL, "POST", HOSTILE + "{n}", retries=[], lane="ill")
    stack.command("limit", "slow.example", "5/s")
    asked = HEALTHY + REFUSED + 2 * FLAKY + ILL
    wait_for("the attempts at the partner", lambda: stack.sink.counts()["requests"] >= asked)
    ended = HEALTHY + FLAKY
    wait_for("the log", lambda: stack.command("status")["delivered"] == ended)
    wait_for("the dead", lambda: stack.command("status")["dead"] == REFUSED + ILL + 2)
    return ill


def from_the_overview_to_a_delivered_postback(browser, stack, ill):
    """Finds a failed postback, reads what the partner said, replays it, and sees it delivered."""
    browser.look(*WIDE, "light")
    browser.open(stack.url + "/")
    browser.click(browser.link("Requests"))
    wait_for("the requests", lambda: browser.text("h1") == "Requests")
    wanted = f'a[href="/postbacks/{ill[0]}"]'
    browser.click(wait_for("the failed postback's line", lambda: browser.find(wanted)))
    wait_for("the postback", lambda: ill[0] in browser.text("h1"))
    if browser.text(".state") != "dead":
        raise Failure(f"the postback is {browser.text('.state')}, not dead")
    shown = browser.text()
    for said in ("status 500", "<script>document.title='ran'</script>", "{{7*7}} the partner is ill", HOSTILE):
        if said not in shown:
            raise Failure(f"the page does not show {said}: {shown}")
    if "ran" in browser.title() or browser.run("return !!document.querySelector('main script, main img')"):
        raise Failure("what the partner said became part of the page")
    say("ok: a failed postback shows its response as text")
    stack.sink.ask("/__heal")
    # Paused, so that the page is there before the row is sent.
    stack.command("pause")
    browser.click(wait_for("the replay button", lambda: browser.find('form[action$="/replay"] button')))
    wait_for("the replayed row", lambda: browser.text(".state") == "pending")
    if "paused" not in browser.text():
        raise Failure("the page does not tell that the fleet is paused")
    browser.run("window.isTheSame = true")
    stack.command("resume")
    wait_for("the delivery, on the page", lambda: browser.text(".state") == "delivered")
    if not browser.run("return window.isTheSame"):
        raise Failure("the page was loaded again")
    say("ok: replayed from the page, and seen delivered without loading it again")


def the_fleet_is_paused_and_resumed(browser, stack):
    """By the buttons of the workers' page."""
    browser.open(stack.url + "/workers")
    browser.type(browser.find('form[action="/workers/pause"] input[name=reason]'), HOSTILE)
    browser.click(browser.find('form[action="/workers/pause"] button'))
    wait_for("the pause", lambda: "The fleet is paused" in browser.text() and HOSTILE in browser.text())
    if not stack.command("status")["paused"]:
        raise Failure("the fleet is not paused")
    browser.click(browser.find('form[action="/workers/resume"] button'))
    wait_for("its end", lambda: "The fleet is paused" not in browser.text())
    if stack.command("status")["paused"]:
        raise Failure("the fleet is still paused")
    say("ok: the fleet is paused and resumed")


def the_dead_are_counted_and_replayed(browser, stack, ill):
    """All that match, after a count, to the end of the progress."""
    browser.open(stack.url + "/dead")
    browser.type(browser.find('form[action="/dead"] input[name=ref]'), HOSTILE + "1")
    browser.click(browser.find('form[action="/dead"] button'))
    wait_for("the dead row", lambda: ill[1] in browser.text() and ill[2] not in browser.text())
    browser.click(browser.find('form[aria-label="All that match"] button'))
    wait_for("the count", lambda: browser.text("h1") == "1 dead row in 1 batch will be replayed")
    browser.click(browser.find('form[action="/dead/replay"] button'))
    wait_for("the progress", lambda: "1 of 1 rows replayed" in browser.text())
    browser.open(f"{stack.url}/postbacks/{ill[1]}")
    wait_for("the second delivery", lambda: browser.text(".state") == "delivered")
    say("ok: dead rows are counted, replayed and delivered")


def a_postback_is_tried(browser, stack):
    """First shown, then sent."""
    browser.open(stack.url + "/try")
    browser.type(browser.find("input[name=url]"), f"http://{stack.sink.address}/tried?click={{click}}")
    browser.type(browser.find("textarea[name=row]"), '{"click": "<8f3a>"}')
    browser.click(browser.find("button[value=show]"))
    wait_for("the dry run", lambda: "/tried?click=%3C8f3a%3E" in browser.text())
    browser.click(browser.find("button[value=send]"))
    browser.click(wait_for("its id", lambda: browser.find('.done a[href^="/postbacks/"]')))
    wait_for("its delivery", lambda: browser.text(".state") == "delivered")
    say("ok: a postback is tried")


def the_figures_are_the_sink_s(browser, stack):
    """What the overview counts is what the partner counted."""
    methods = stack.sink.counts()["methods"]
    told = stack.page("/")["totals"]
    # Those of /ill were asked for again, two of them, and came through then.
    delivered = methods["GET"] + methods["DELETE"] // 2 + methods["POST"] - ILL
    # Two attempts found a closed port.
    attempts = sum(methods.values()) + 2
    expected = {"accepted": HEALTHY + REFUSED + FLAKY + ILL + 4, "delivered": delivered, "attempts": attempts,
                "failed": attempts - delivered}
    differ = {name: (told.get(name), n) for name, n in expected.items() if told.get(name) != n}
    if differ:
        raise Failure(f"the overview tells other figures than the sink: {differ}")
    browser.open(stack.url + "/")
    if f"{delivered} delivered" not in browser.text():
        raise Failure(f"the overview does not show {delivered} delivered: {browser.text()}")
    say("ok: the overview's figures are the sink's")


def faults_of(browser, look, size):
    """What is wrong with the page that is open."""
    yield from checks.shape(browser)
    if look == "phone":
        yield from checks.width(browser, size[0])
    yield from checks.keyboard(browser)
    yield from checks.console(browser)


def every_page(browser, stack, ill, screenshots):
    """Each page in each look: a screenshot, and the faults of all."""
    pages = {
        "overview": "/", "requests": "/requests", "errors": "/errors", "dead": "/dead", "hosts": "/hosts",
        "workers": "/workers", "try": "/try", "postback": f"/postbacks/{ill[0]}", "postback-dead": f"/postbacks/{ill[2]}",
        "progress": "/dead/progress", "search": "/requests?q=nothing", "missing": "/nowhere",
    }
    faults = []
    for name, path in pages.items():
        for look, size, scheme in LOOKS:
            browser.look(*size, scheme)
            browser.console()
            browser.open(stack.url + path)
            browser.screenshot(os.path.join(screenshots, f"{name}-{look}.png"))
            found = list(faults_of(browser, look, size))
            if name == "missing":
                # That the answer is a 404 is an error to the console.
                found = [fault for fault in found if "404" not in fault]
            faults += [f"{path} ({look}): {fault}" for fault in found]
        say(f"looked at {path}")
    for fault in faults:
        say(f"FAULT: {fault}")
    if faults:
        raise Failure(f"{len(faults)} faults of pages")
    say(f"ok: {len(pages)} pages, light, dark and on a phone; screenshots are in {screenshots}")


def main():
    """Exits with 1 where something is not as it must be."""
    [_, screenshots, log] = sys.argv
    os.makedirs(screenshots, exist_ok=True)
    stack, browser = Stack(), None
    try:
        with open(log, "w", encoding="utf-8") as file:
            browser = Browser(file)
            ill = fill(stack)
            from_the_overview_to_a_delivered_postback(browser, stack, ill)
            the_dead_are_counted_and_replayed(browser, stack, ill)
            the_fleet_is_paused_and_resumed(browser, stack)
            a_postback_is_tried(browser, stack)
            the_figures_are_the_sink_s(browser, stack)
            every_page(browser, stack, ill, screenshots)
    except Failure as failure:
        if browser:
            browser.screenshot(os.path.join(screenshots, "failed.png"))
        sys.exit(f"browse: {failure}")
    finally:
        if browser:
            browser.close()
        stack.close()


if __name__ == "__main__":
    main()
