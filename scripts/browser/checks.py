"""What every page must be, whatever it shows: each check gives the faults it finds, as texts."""

from webdriver import TAB

# Whether somebody who sees, or who presses Tab, can come upon an element.
VISIBLE = """
const isShown = (element) => element.checkVisibility({checkVisibilityCSS: true}) &&
  !element.closest('[inert]');
const isAsked = (element) => !element.disabled && element.tabIndex >= 0 && isShown(element);
const name = (element) => element.outerHTML.replace(/\\s+/g, ' ').slice(0, 90);
const all = () => [...document.querySelectorAll(
  'a[href], button, input, select, textarea, summary, [tabindex]')].filter(isAsked);
"""

SHAPE = """
const faults = [];
if (!document.title.trim()) faults.push('it has no title');
const heads = document.querySelectorAll('h1').length;
if (heads !== 1) faults.push(`it has ${heads} h1`);
if (!document.documentElement.lang) faults.push('its language is not told');
for (const element of document.querySelectorAll('*')) {
  for (const attribute of element.attributes) {
    if (attribute.name === 'style' || attribute.name.startsWith('on'))
      faults.push(`inline ${attribute.name}: ${element.outerHTML.slice(0, 90)}`);
  }
}
for (const element of document.querySelectorAll('style, script:not([src]), iframe, object, embed'))
  faults.push(`a ${element.localName} within the page`);
for (const element of document.querySelectorAll('input:not([type=hidden]), select, textarea')) {
  if (!element.labels?.length && !element.ariaLabel) faults.push(`no label: ${element.outerHTML.slice(0, 90)}`);
}
for (const element of document.querySelectorAll('a[href], button, summary')) {
  const told = element.innerText || element.textContent || element.ariaLabel || element.title;
  if (!told.trim()) faults.push(`no text: ${element.outerHTML.slice(0, 90)}`);
}
const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
for (const id of ids.filter((id, n) => ids.indexOf(id) !== n)) faults.push(`two elements with the id ${id}`);
return faults;
"""

WIDTH = """
// Not innerWidth, which grows where a phone zooms out to show all.
const [most] = arguments;
const width = document.documentElement.scrollWidth;
if (width <= most) return [];
const wide = [...document.querySelectorAll('body *')].filter((element) =>
  element.getBoundingClientRect().right > most + 1 && !element.parentElement.closest('.scroll'));
const first = wide[0]?.outerHTML.replace(/\\s+/g, ' ').slice(0, 120);
return [`it is ${width} px wide on ${most}: ${first}`];
"""

# Focus is watched from within: one call of the driver presses all the keys.
WATCH = VISIBLE + """
const live = document.getElementById('live');
if (live?.getAttribute('aria-pressed') === 'true') live.click();
document.activeElement?.blur();
getSelection().removeAllRanges();
document.body.tabIndex = -1;
document.body.focus();
document.body.removeAttribute('tabindex');
const seen = new Map();
window.focusSeen = seen;
document.addEventListener('focusin', ({target}) => {
  const style = getComputedStyle(target);
  const place = target.getBoundingClientRect();
  const isOutlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  const isThere = place.width > 0 && place.height > 0 && place.bottom > 0 && place.right > 0;
  seen.set(target, isOutlined && isThere);
});
return all().length;
"""

REACHED = VISIBLE + """
// Of radio buttons with one name Tab reaches one.
const isReached = (element) => window.focusSeen.has(element) || (element.type === 'radio' &&
  [...window.focusSeen.keys()].some((other) => other.type === 'radio' && other.name === element.name));
const faults = all().filter((element) => !isReached(element)).map((element) => `Tab does not reach ${name(element)}`);
for (const [element, isVisible] of window.focusSeen)
  if (!isVisible) faults.push(`the focus is not visible on ${name(element)}`);
return faults;
"""


def shape(browser):
    """Title, headings, labels; nothing inline that the policy forbids."""
    return browser.run(SHAPE)


def width(browser, most):
    """Nothing is wider than the window, which is so many pixels wide."""
    return browser.run(WIDTH, most)


def keyboard(browser):
    """Tab reaches all there is to press and fill in, and shows where it is."""
    there = browser.run(WATCH)
    browser.press(TAB, there + 2)
    return browser.run(REACHED)


def console(browser):
    """No error, no warning, nothing that the policy forbade."""
    return [f"{entry['level']}: {entry['message']}" for entry in browser.console()
            if entry["level"] in ("SEVERE", "WARNING")]
