//! The page in a browser: each thing that it shows, offline, at 360 pixels, by keyboard.

use std::sync::Arc;

use ackonce::adapter::{Delivery, Job};
use ackonce::store::{Inspect as _, Note, RecordTarget, State};
use ackonce::{Activity, Context, EntityVersion, Failure, Newest, Runner, Scope};
use ackonce_console::snapshot::ProgramView;
use ackonce_console::{ConsoleOptions, Program};
use tokio::sync::Semaphore;

use crate::browser::{Browser, ENTER, ESCAPE, LEFT, SPACE, TAB, with_browser};
use crate::common::{Records, Served, TOKEN, serve, writing};

const WIDE: u32 = 1280;
const PHONE: u32 = 360;

async fn served(records: &Records, options: ConsoleOptions) -> (Served, String) {
    let served = serve(Arc::new(records.store.clone()), options).await;
    let url = format!("http://{}/", served.address);
    (served, url)
}

fn key(id: &str) -> ackonce::Key {
    Scope::new("billing/charge").unwrap().key(id.to_owned()).unwrap()
}

async fn state(records: &Records, id: &str) -> Option<State> {
    records.store.look(&key(id)).await.unwrap().map(|entry| entry.record.state)
}

struct Order(u32);
impl Delivery for Order {
    type Message = u32;
    fn message(&self) -> u32 {
        self.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_shows_its_claims_and_its_records_by_scope() {
    with_browser(WIDE, async |browser: Browser| {
        let records = Records::some().await;
        let (_served, url) = served(&records, ConsoleOptions::default()).await;
        browser.open(&url).await;
        browser.says("#live", "live").await;
        browser.says("#store", "sqlite").await;
        browser.says("#running", "evt_running").await;
        browser.says("#running-from", "claimed by workers").await;
        browser.says("#scopes tbody tr", "billing/charge").await;
        let row = browser.text("#scopes tbody tr").await;
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["billing/charge", "1", "1", "1", "3"]);
        browser.says("#scopes .sum", "All").await;
        assert!(browser.is("return document.querySelector('#runners-card').hidden").await);
        for chart in ["done", "claimed", "released", "buried"] {
            browser.find(&format!("#chart-{chart} svg")).await;
        }
        // A change is seen without a reload.
        records.done("mail/send", "mail-2", None).await;
        browser.until("return [...document.querySelectorAll('#scopes tbody tr')].some(r => /mail.send\\s+0\\s+0\\s+2/.test(r.innerText))").await;
        browser.says("#chart-claimed .value", "1").await;
        // A number leads to its records.
        browser.find("#scopes tbody td:last-child a").await.click().await.unwrap();
        browser.says("#records-count", "3 records").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_shows_its_running_messages_rates_and_state() {
    with_browser(WIDE, async |browser: Browser| {
        let records = Records::new();
        let mut options = ConsoleOptions::default();
        options.activity = Some(Activity::switch_on());
        options.program = Some(Program::new(|| {
            let mut view = ProgramView::default();
            (view.name, view.live, view.lag) = ("relay".to_owned(), true, Some(1234));
            view.report = "partition 3 of orders: lag 1234".to_owned();
            view
        }));
        let scope = Scope::new("shipping").unwrap();
        let gate = Arc::new(Semaphore::new(0));
        let handler = {
            let gate = gate.clone();
            move |_: Context, order: u32| {
                let gate = gate.clone();
                async move {
                    match order {
                        0 => gate.acquire().await.map(|permit| permit.forget()).map_err(Failure::from),
                        1 => Err(Failure::permanent("the address is unknown")),
                        _ => Ok(()),
                    }
                }
            }
        };
        let runner = Runner::new(Arc::new(records.store.clone()), &scope, handler).unwrap();
        let deliver = |order: u32, id: &str| {
            let (runner, job) = (runner.clone(), Job::new(scope.key(id.to_owned()).unwrap(), Order(order)));
            tokio::spawn(async move { runner.process(job).await.map(drop).map_err(drop) })
        };
        let held = deliver(0, "order-held");
        let (_served, url) = served(&records, options).await;
        browser.open(&url).await;
        browser.says("#running", "order-held").await;
        browser.says("#running-from", "with handlers of this program").await;
        browser.says("#program", "lag 1,234").await;
        browser.says("#program", "live").await;
        browser.says("#program", "not ready").await;
        assert!(browser.run("return document.querySelector('#report').textContent", vec![]).await.as_str().unwrap().contains("partition 3"));
        let at_the_end = |what: &str| format!("return [...document.querySelectorAll('#chart-{what} .curve')].length === 1");
        browser.until(&at_the_end("completed")).await;

        deliver(1, "order-lost").await.unwrap().unwrap();
        for _ in 0..3 {
            deliver(2, "order-twice").await.unwrap().unwrap();
        }
        let scope = Scope::new("addresses").unwrap();
        let newest = Newest::new(
            |version: &u32| Ok(EntityVersion::integer("customer-1", i64::from(*version))),
            async |_: Context, _: u32| Ok::<(), Failure>(()),
        );
        let runner = Runner::new(Arc::new(records.store.clone()), &scope, newest).unwrap();
        for version in [2, 1] {
            let job = Job::new(scope.key(format!("v{version}")).unwrap(), Order(version));
            runner.process(job).await.map(drop).map_err(drop).unwrap();
        }
        // Delivered, in flight, completed, duplicates, of buried, stale, retried, buried.
        let row = "const row = [...document.querySelectorAll('#runners tbody tr')].find(r => r.innerText.startsWith('shipping')); \
            return row !== undefined && [...row.cells].slice(2, 10).map(c => c.innerText).join() === ";
        browser.until(&format!("{row} '5,1,1,2,0,0,0,1'")).await;
        browser.until(&format!("{} '2,0,1,0,0,1,0,0'", row.replace("shipping", "addresses"))).await;
        for chart in ["completed", "duplicate", "failed"] {
            browser.until(&format!("return /at most (?!0\\.0)/.test(document.querySelector('#chart-{chart} .plot').getAttribute('aria-label'))")).await;
        }
        browser.says("#chart-in_flight .value", "1").await;
        browser.picture("program").await;

        // The points of a chart can be looked at with the keyboard.
        browser.tab_to("#chart-duplicate .plot").await;
        browser.press(LEFT).await;
        browser.until("return /at \\d\\d:\\d\\d/.test(document.querySelector('#chart-duplicate .plot').getAttribute('aria-label'))").await;
        gate.add_permits(1);
        held.await.unwrap().unwrap();
        browser.until("return !document.querySelector('#running').innerText.includes('order-held')").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_found_by_keyboard_and_explained() {
    with_browser(WIDE, async |browser: Browser| {
        let records = Records::some().await;
        let note = Note { actor: "ada".into(), reason: "ticket 4711".into() };
        records.store.redrive(RecordTarget::Key(&key("evt_buried_2")), &note).await.unwrap();
        let (_served, url) = served(&records, ConsoleOptions::default()).await;
        browser.open(&url).await;
        browser.press("/").await;
        browser.until("return document.activeElement.id === 'find-scope'").await;
        browser.press("billing/charge").await;
        browser.press(TAB).await;
        browser.press("evt_buried").await;
        browser.press(ENTER).await;
        browser.says("#sentence", "the card was stolen").await;
        browser.says("#found .pill", "buried").await;
        let facts = browser.text("#facts").await;
        for fact in ["Attempts", "Last claimed", "ago", "Forgotten", "Fence", "Reason"] {
            assert!(facts.contains(fact), "{fact} is not in {facts}");
        }
        assert!(browser.is("return document.querySelector('#redrive-one').disabled").await);
        browser.picture("find").await;

        // The address is a link to the answer.
        browser.open(&format!("{url}#find?scope=billing%2Fcharge&id=evt_done")).await;
        browser.0.refresh().await.unwrap();
        browser.says("#facts pre", "{\"charged\": 1200}").await;
        browser.open(&format!("{url}#find?scope=billing%2Fcharge&id=evt_buried_2")).await;
        browser.says("#found table", "ticket 4711").await;
        browser.open(&format!("{url}#find?scope=billing%2Fcharge&id=evt_running")).await;
        browser.says("#facts", "Lease ends").await;
        browser.open(&format!("{url}#find?scope=billing%2Fcharge&id=hex%3A00ff")).await;
        browser.says("#found .pill", "no record").await;
        browser.open(&format!("{url}#find?scope=billing%2Fcharge&id=hex%3Azz")).await;
        browser.says("#found [role=alert]", "hex:").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_by_reason_filtered_and_paged() {
    with_browser(WIDE, async |browser: Browser| {
        let records = Records::some().await;
        for n in 0..120 {
            records.buried("mail/send", &format!("mail-{n:03}"), "mailbox full").await;
        }
        let (_served, url) = served(&records, ConsoleOptions::default()).await;
        browser.open(&url).await;
        browser.press("3").await;
        browser.says("#reasons li", "mailbox full").await;
        browser.says("#reasons li .n", "120").await;
        browser.says("#reasons-of", "123 buried messages").await;
        browser.says("#records-count", "50 records, more follow").await;
        browser.picture("records").await;
        let ids = "return [...document.querySelectorAll('#listing td[data-label=\"Message ID\"]')].map(c => c.innerText)";
        let mut seen = std::collections::HashSet::new();
        loop {
            let page: Vec<String> = serde_json::from_value(browser.run(ids, vec![]).await).unwrap();
            let first = page[0].clone();
            assert!(page.into_iter().all(|id| seen.insert(id)), "no record is on two pages");
            if browser.is("return document.querySelector('#next-page').disabled").await {
                break;
            }
            browser.tab_to("#next-page").await;
            browser.press(ENTER).await;
            browser.until(&format!("return !document.querySelector('#listing').innerText.includes('{first}')")).await;
        }
        assert_eq!(seen.len(), 123);
        // A reason is a filter.
        browser.find("#reasons li:nth-child(2) a").await.click().await.unwrap();
        browser.says("#records-count", "2 records").await;
        browser.says("#listing", "the card was stolen").await;
        let wanted = browser.find("#by-reason").await;
        assert_eq!(wanted.prop("value").await.unwrap().unwrap(), "the card was stolen");
        wanted.clear().await.unwrap();
        wanted.send_keys("nothing has this").await.unwrap();
        browser.press(ENTER).await;
        browser.says("#listing", "No record has all of that.").await;
        browser.open(&format!("{url}#records?state=done&scope=mail%2Fsend")).await;
        browser.says("#listing", "mail-1").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_redriven_and_forgotten_by_keyboard_with_a_reason() {
    with_browser(WIDE, async |browser: Browser| {
        let records = Records::some().await;
        let (_served, url) = served(&records, writing()).await;
        browser.open(&format!("{url}#records?state=buried&reason=stolen")).await;
        browser.says("#records-count", "2 records").await;
        browser.tab_to("#listing tbody input").await;
        browser.press(SPACE).await;
        browser.press(TAB).await;
        browser.tab_to("#listing tbody tr:nth-child(2) input").await;
        browser.press(SPACE).await;
        browser.says("#selected", "2 records picked").await;
        browser.run("document.querySelector('h1').scrollIntoView(); document.activeElement.blur()", vec![]).await;
        browser.tab_to("#redrive-selected").await;
        browser.press(ENTER).await;
        browser.until("return document.activeElement.id === 'actor'").await;
        // Escape leaves everything as it is.
        browser.press(ESCAPE).await;
        browser.until("return !document.querySelector('#confirm').open").await;
        browser.until("return document.activeElement.id === 'redrive-selected'").await;
        browser.press(ENTER).await;
        browser.until("return document.activeElement.id === 'actor'").await;
        // Without a reason the form stays.
        browser.press("ada").await;
        browser.press(ENTER).await;
        assert!(browser.is("return document.querySelector('#confirm').open && document.querySelector('#confirm-result').innerText === ''").await);
        browser.tab_to("#reason").await;
        browser.press("the bank is back, ticket 4711").await;
        browser.picture("confirm").await;
        browser.press(ENTER).await;
        browser.says("#confirm-result", "Redriven: 2.").await;
        assert!(browser.has_focus("#cancel").await);
        browser.press(ENTER).await;
        browser.says("#records-count", "0 records").await;
        for id in ["evt_buried", "evt_buried_2"] {
            assert_eq!(state(&records, id).await, Some(State::Released));
            let audit = records.store.audit(&key(id)).await.unwrap();
            assert_eq!((audit[0].actor.as_str(), audit[0].reason.as_str()), ("ada", "the bank is back, ticket 4711"));
        }

        browser.open(&format!("{url}#find?scope=billing%2Fcharge&id=evt_done")).await;
        // As a link that somebody sent.
        browser.0.refresh().await.unwrap();
        browser.until("return document.querySelector('#forget-one')?.disabled === false").await;
        browser.tab_to("#forget-one").await;
        browser.press(ENTER).await;
        // The name is remembered.
        browser.until("return document.activeElement.id === 'reason'").await;
        browser.press("asked for by the customer").await;
        browser.press(ENTER).await;
        browser.says("#confirm-result", "Forgotten: 1.").await;
        browser.press(ENTER).await;
        browser.says("#found .pill", "no record").await;
        browser.says("#found table", "asked for by the customer").await;
        assert_eq!(state(&records, "evt_done").await, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_and_reasons_are_text() {
    with_browser(WIDE, async |browser: Browser| {
        let records = Records::new();
        let hostile = "<script>window.caught=1</script><img src=x onerror=window.caught=1>\"'&amp;";
        records.buried(hostile, hostile, hostile).await;
        records.claim(hostile, &format!("{hostile}2")).await;
        records.done(hostile, &format!("{hostile}3"), Some(hostile)).await;
        records.buried("bytes", "\u{202e}gnp.exe\u{0}", "\u{1b}[31mred").await;
        let (_served, url) = served(&records, writing()).await;
        browser.open(&url).await;
        for place in ["#running", "#scopes"] {
            browser.says(place, hostile).await;
        }
        browser.press("3").await;
        for place in ["#reasons", "#listing"] {
            browser.says(place, hostile).await;
        }
        browser.says("#listing", "hex:e280ae").await;
        browser.run("[...document.querySelectorAll('#listing a')].find(a => a.innerText.startsWith('<')).click()", vec![]).await;
        browser.says("#sentence", hostile).await;
        browser.says("#facts", hostile).await;
        browser.find("#redrive-one").await.click().await.unwrap();
        browser.says("#confirm-list", hostile).await;
        browser.find("#actor").await.send_keys(hostile).await.unwrap();
        browser.find("#reason").await.send_keys(hostile).await.unwrap();
        browser.press(ENTER).await;
        browser.says("#confirm-result", "Redriven: 1.").await;
        browser.press(ENTER).await;
        browser.says("#found table", hostile).await;
        assert!(browser.is("return window.caught === undefined && document.images.length === 0 && document.scripts.length === 1").await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_fits_on_a_phone_in_light_and_dark() {
    with_browser(PHONE, async |browser: Browser| {
        let records = Records::some().await;
        records.buried(&"long/scope/".repeat(15), &"x".repeat(500), &"reason".repeat(80)).await;
        let (_served, url) = served(&records, writing()).await;
        for theme in ["light", "dark"] {
            for (view, place, part) in [
                ("now", "#running", "evt_running"),
                ("now", "#scopes", "long/scope"),
                ("find?scope=billing%2Fcharge&id=evt_done", "#facts", "charged"),
                ("records?state=buried", "#listing", "xxx"),
                ("records?state=buried", "#reasons", "the card was stolen"),
            ] {
                browser.open(&format!("{url}#{view}")).await;
                browser.colours(theme).await;
                browser.says(place, part).await;
                browser.fits(PHONE).await;
            }
            // A row reads as a card: each value with its label.
            let labels = "return [...document.querySelectorAll('#listing tbody tr:first-child td')].every(c => getComputedStyle(c, '::before').content.length > 2)";
            assert!(browser.is(labels).await);
            browser.picture(&format!("phone-{theme}")).await;
            browser.run("document.querySelector('#listing input').click()", vec![]).await;
            browser.find("#redrive-selected").await.click().await.unwrap();
            browser.until("return document.querySelector('#confirm').open").await;
            browser.fits(PHONE).await;
            browser.press(ESCAPE).await;
            // Text stands out from its ground as the guidelines ask (4.5 to 1).
            let contrast = browser.run(CONTRAST, vec![]).await;
            assert_eq!(contrast.as_array().unwrap().len(), 0, "{theme}: {contrast}");
        }
    })
    .await;
}

/// The texts whose contrast is below 4.5 to 1.
const CONTRAST: &str = r"
const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
const channels = (colours) => {
  canvas.clearRect(0, 0, 1, 1);
  for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const light = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const low = [];
for (const element of document.querySelectorAll('body *')) {
  if (!element.checkVisibility() || element.disabled || ![...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
  const grounds = [];
  for (let e = element; e; e = e.parentElement) grounds.unshift(getComputedStyle(e).backgroundColor);
  const ground = channels(grounds);
  const text = channels([...grounds, getComputedStyle(element).color]);
  const [a, b] = [light(text), light(ground)].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) low.push(`${element.outerHTML.slice(0, 80)} ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
}
return low;";

#[tokio::test(flavor = "multi_thread")]
async fn the_page_needs_no_other_host_and_speaks_to_screen_readers() {
    with_browser(WIDE, async |browser: Browser| {
        let records = Records::some().await;
        let (served, url) = served(&records, ConsoleOptions::default()).await;
        browser.open(&url).await;
        browser.says("#live", "live").await;
        browser.says("#scopes", "billing/charge").await;
        let asked = browser.run("return performance.getEntriesByType('resource').map(e => e.name)", vec![]).await;
        for asked in asked.as_array().unwrap() {
            let asked = asked.as_str().unwrap();
            assert!(asked.starts_with(&url) || asked.starts_with("data:"), "{asked}");
        }
        // One stream for the page.
        let streams = asked.as_array().unwrap().iter().filter(|asked| asked.as_str().unwrap().ends_with("/api/live")).count();
        assert!(streams <= 1, "{asked}");
        for script in [
            "return document.documentElement.lang === 'en' && document.title !== ''",
            "return document.querySelectorAll('main, nav, header').length === 3",
            "return [...document.querySelectorAll('input, select')].every(e => e.labels?.length > 0 || e.ariaLabel)",
            "return [...document.querySelectorAll('button, a')].every(e => e.innerText.trim() !== '' || e.textContent.trim() !== '' || e.ariaLabel)",
            "return [...document.querySelectorAll('table')].every(t => t.ariaLabel && t.querySelectorAll('th[scope=col]').length > 0 && t.role === 'table')",
            "return [...document.querySelectorAll('section.card')].every(s => s.ariaLabel || document.getElementById(s.getAttribute('aria-labelledby')))",
            "return [...document.querySelectorAll('.plot')].every(p => p.role === 'img' && p.ariaLabel.length > 5)",
            "return document.querySelector('nav [aria-current=page]').innerText === 'Now'",
        ] {
            assert!(browser.is(script).await, "{script}");
        }
        browser.press("?").await;
        browser.until("return document.querySelector('#help').open").await;
        browser.press(ESCAPE).await;
        browser.press(TAB).await;
        browser.press("2").await;
        browser.until("return !document.querySelector('#view-find').hidden").await;

        for (name, theme, view) in [("now-light", "light", "now"), ("now-dark", "dark", "now"), ("records-dark", "dark", "records")] {
            browser.open(&format!("{url}#{view}")).await;
            browser.colours(theme).await;
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            browser.picture(name).await;
            let contrast = browser.run(CONTRAST, vec![]).await;
            assert_eq!(contrast.as_array().unwrap().len(), 0, "{theme}: {contrast}");
        }
        // The page says so when nobody answers any more.
        served.stop.cancel();
        served.server.await.unwrap();
        browser.says("#live", "reconnecting").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_asked_for_once_and_kept_from_scripts() {
    with_browser(PHONE, async |browser: Browser| {
        let records = Records::some().await;
        let mut options = ConsoleOptions::default();
        options.token = Some(TOKEN.parse().unwrap());
        let (_served, url) = served(&records, options).await;
        browser.open(&url).await;
        assert!(browser.has_focus("#token").await);
        browser.fits(PHONE).await;
        browser.press("guess-guess-guess-guess").await;
        browser.press(ENTER).await;
        browser.says("[role=alert]", "That is not the token.").await;
        browser.press(TOKEN).await;
        browser.picture("login").await;
        browser.press(ENTER).await;
        browser.says("#live", "live").await;
        browser.says("#running", "evt_running").await;
        assert!(browser.is("return document.cookie === '' && !document.documentElement.outerHTML.includes('correct-horse')").await);
        browser.tab_to("form[action=logout] button").await;
        browser.press(ENTER).await;
        browser.until("return document.querySelector('#token') !== null").await;
    })
    .await;
}
