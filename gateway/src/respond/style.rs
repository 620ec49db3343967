//! The one style sheet of all pages, and the shades that a company's colour becomes. No page fetches a style or has one of
//! its own, so one hash in the `Content-Security-Policy` covers all of them.
//!
//! The vocabulary for markup: `a.button`, `button`, with `.second` or `.danger` for the lesser and the destructive;
//! `label`, `.help` and `.fault` around inputs, `.digits` for codes; `.note` with `.good` or `.bad`, and `role=status` or
//! `role=alert`; `.badge` with `.good`, `.bad` or `.idle`; `ul.rows` for things with actions, `ul.tiles` for things to
//! open, `.acts` around buttons; `.do` for what a person can do; `.soft` for lesser text; `.qr`, `.codes`.

/// Everything but the company's colour, which comes after it.
pub(super) const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#f4f5f7;--sheet:#fff;--ink:#1c2230;--soft:#555d6e;--line:#d9dde5;--edge:#7b8496;--mark:#8a5a00;--box:#fdf6e7;--accent:#1f5c99;--good:#1a6b3c;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ground:#14171d;--sheet:#1d222b;--ink:#e9ecf2;--soft:#a9b1c0;--line:#363d4a;--edge:#7d8798;--mark:#f0c36b;--box:#2a2619;--accent:#8fbdec;--good:#7fd1a0;--bad:#ffb4a9}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:flex;flex-direction:column;background:var(--ground);color:var(--ink);\
font:1rem/1.7 system-ui,-apple-system,'Segoe UI','Hiragino Sans','Yu Gothic UI','Noto Sans CJK JP','Noto Sans JP',sans-serif;\
overflow-wrap:anywhere;line-break:strict;-webkit-text-size-adjust:100%;text-size-adjust:100%}
header,main,footer{width:100%;max-width:40rem;margin:0 auto;padding:0 1.25rem}
.wide header,.wide main,.wide footer{max-width:60rem}
header,footer{padding:0 2.3rem}
header{display:flex;flex-wrap:wrap;align-items:center;gap:.25rem .75rem;padding-top:1.5rem;padding-bottom:1rem;font-weight:600;color:var(--soft)}
.logo{display:block;width:auto;height:auto;max-width:10rem;max-height:2.25rem}
.tongue{margin-left:auto;font-weight:400;font-size:.9rem}
.skip{position:absolute;left:-999rem}
.skip:focus{left:1rem;top:.5rem;padding:.5rem 1rem;background:var(--sheet);z-index:1}
main{background:var(--sheet);border:1px solid var(--line);border-radius:.75rem;padding:2rem 2.25rem 1.75rem}
main:focus{outline:0}
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.4;text-wrap:balance;word-break:auto-phrase}
h2{margin:0 0 .5rem;font-size:1.15rem;line-height:1.5;word-break:auto-phrase}
h3{margin:0;font-size:1rem;line-height:1.6}
p{margin:0 0 1rem}
p,li,footer,label{word-break:auto-phrase}
time,.whole{white-space:nowrap}
.when>span,.soft>span{display:inline-block;margin-right:1rem}
a{color:var(--accent);text-underline-offset:.15em}
a:hover{text-decoration-thickness:2px}
:focus-visible{outline:3px solid var(--mark);outline-offset:2px;border-radius:.125rem}
section,article{margin-top:1.75rem;padding-top:1.5rem;border-top:1px solid var(--line)}
article dl{margin-top:1rem;padding-top:0;border-top:0}
.soft,.when,.help{color:var(--soft);font-size:.9rem}
.do,.note{margin:1.5rem 0;padding:1rem 1.25rem .25rem;background:var(--box);border-left:.25rem solid var(--mark);border-radius:.25rem}
.note{margin:0 0 1.5rem}
.note.good{border-color:var(--good)}
.note.bad{border-color:var(--bad)}
.do p,.note p{margin-bottom:.75rem}
.do h2,.do h3{margin:0 0 .25rem;font-size:1rem;color:var(--mark)}
.do ul,.note ul{margin:0 0 .75rem;padding-left:1.25rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.25rem;margin:1.5rem 0 0;padding-top:1.25rem;border-top:1px solid var(--line);font-size:.9rem}
dl.plain{margin:0 0 1rem;padding:0;border:0}
dt{color:var(--soft)}
dd{margin:0}
code{font:.875rem/1.6 ui-monospace,Consolas,Menlo,monospace;user-select:all}
p code{background:var(--ground);padding:.1rem .3rem;border-radius:.25rem}
pre{margin:0 0 1.25rem;padding:.75rem 1rem;overflow-x:auto;background:var(--ground);border:1px solid var(--line);border-radius:.375rem;overflow-wrap:normal}
main>nav{margin-bottom:.75rem;font-size:.9rem}
form{margin:0 0 1rem}
label{display:block;margin-bottom:.25rem;font-weight:600}
.help{margin:0 0 .35rem}
.fault{margin:.35rem 0 0;color:var(--bad);font-weight:600}
input:not([type=hidden]):not([type=checkbox]):not([type=radio]),textarea,select{display:block;width:100%;min-height:2.75rem;margin:.25rem 0 1rem;padding:.5rem .75rem;font:inherit;color:var(--ink);background:var(--sheet);border:1px solid var(--edge);border-radius:.375rem}
input.digits{max-width:12rem;font-family:ui-monospace,Consolas,Menlo,monospace;font-size:1.25rem;letter-spacing:.2em}
[aria-invalid=true]{border-color:var(--bad)!important;border-width:2px!important}
button,.button{display:inline-block;min-height:2.75rem;margin:0;padding:.5rem 1.25rem;font:inherit;font-weight:600;line-height:1.6;text-align:center;text-decoration:none;color:var(--sheet);background:var(--accent);border:1px solid var(--accent);border-radius:.375rem;cursor:pointer;word-break:auto-phrase}
button:hover,.button:hover{box-shadow:inset 0 0 0 2px currentColor}
button:focus-visible,.button:focus-visible{border-radius:.375rem}
button[disabled]{color:var(--soft);background:transparent;border-color:var(--line);cursor:not-allowed;box-shadow:none}
.second{color:var(--accent);background:transparent}
.danger{color:var(--bad);background:transparent;border-color:var(--bad)}
.full{display:block;width:100%}
.acts{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.25rem 0 1rem}
.acts form{margin:0}
.badge{display:inline-block;padding:0 .6rem;font-size:.8rem;font-weight:600;line-height:1.7;white-space:nowrap;color:var(--soft);border:1px solid currentColor;border-radius:1rem}
.badge.good{color:var(--good)}
.badge.bad{color:var(--bad)}
.badge.good::before{content:'\\2713\\a0';content:'\\2713\\a0' / ''}
.badge.bad::before{content:'!\\a0';content:'!\\a0' / ''}
ul.rows,ul.tiles,ul.links{margin:0 0 1rem;padding:0;list-style:none}
ul.rows>li{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;justify-content:space-between;padding:.9rem 0;border-top:1px solid var(--line)}
ul.rows>li:first-child{border-top:0}
ul.rows>li>div{flex:1 1 16rem;min-width:0}
ul.rows p{margin:0}
ul.rows form{margin:0}
ul.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));gap:.75rem}
ul.tiles a,.tile{display:flex;flex-wrap:wrap;align-items:center;align-content:center;justify-content:space-between;gap:.25rem .75rem;height:100%;min-height:3.5rem;padding:.75rem 1rem;font-weight:600;text-decoration:none;border:1px solid var(--line);border-radius:.5rem}
.jump{margin:1rem 0 0}
.jump ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:0;padding:0;list-style:none}
ol{margin:0 0 1.25rem;padding-left:1.5rem}
section>h3{margin-top:1.25rem}
ul.tiles a:hover{border-color:var(--accent);box-shadow:inset 0 0 0 1px var(--accent)}
ul.tiles .soft{flex-basis:100%;font-weight:400}
ul.links{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:.25rem 1.25rem}
ul.links a{display:block;padding:.4rem 0}
details{margin:0 0 1rem}
summary{padding:.5rem 0;cursor:pointer;color:var(--accent)}
.qr{display:block;width:13rem;height:auto;margin:0 0 1rem;padding:.75rem;background:#fff;border-radius:.5rem}
.codes{display:grid;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr));gap:.25rem 1.5rem;margin:0 0 1rem;padding:1rem 1.25rem;list-style:none;font:1rem/1.8 ui-monospace,Consolas,Menlo,monospace;background:var(--ground);border-radius:.375rem}
[hidden]{display:none!important}
footer{padding-top:1rem;padding-bottom:2rem;font-size:.85rem;color:var(--soft)}
footer p{margin:0 0 .25rem}
@media(prefers-reduced-motion:no-preference){button,.button,ul.tiles a{transition:box-shadow .12s}}
@media(max-width:44rem){p,li,footer{word-break:normal}header,footer{padding-left:1.25rem;padding-right:1.25rem}main{border-width:1px 0;border-radius:0;padding:1.5rem 1.25rem}h1{font-size:1.3rem}}
@media(max-width:26rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}.acts>*,.acts button,.acts .button{width:100%}}
";

/// What text and buttons of a company's colour stand on, in light and in dark: sheet, ground, box.
const LIGHT: [Rgb; 3] = [[0xff, 0xff, 0xff], [0xf4, 0xf5, 0xf7], [0xfd, 0xf6, 0xe7]];
const DARK: [Rgb; 3] = [[0x1d, 0x22, 0x2b], [0x14, 0x17, 0x1d], [0x2a, 0x26, 0x19]];

/// WCAG 2.2 §1.4.3, level AA.
const LEAST_CONTRAST: f64 = 4.5;

type Rgb = [u8; 3];

/// The rules that make `colour` the colour of links and buttons: darker on light, lighter on dark, as far as it takes to
/// be read. The text of a button has the colour of the sheet, so one contrast serves both.
pub(super) fn in_colour(colour: Rgb) -> String {
    let light = hex(shade(colour, [0; 3], &LIGHT));
    let dark = hex(shade(colour, [0xff; 3], &DARK));
    format!(
        ":root{{--accent:{light}}}\n@media(prefers-color-scheme:dark){{:root{{--accent:{dark}}}}}\n"
    )
}

/// The shade nearest to `colour`, on the way to `end`, that stands out on all of `grounds`. `end` always does.
fn shade(colour: Rgb, end: Rgb, grounds: &[Rgb]) -> Rgb {
    let stands_out = |shade: &Rgb| {
        grounds
            .iter()
            .all(|ground| contrast(*shade, *ground) >= LEAST_CONTRAST)
    };
    let mut steps = (0..=100).map(|step| mixed(colour, end, step));
    steps.find(stands_out).unwrap_or(end)
}

/// `percent` of the way from one to the other.
fn mixed(from: Rgb, to: Rgb, percent: u32) -> Rgb {
    let part = |from: u8, to: u8| {
        let sum = u32::from(from) * (100 - percent) + u32::from(to) * percent;
        u8::try_from(sum / 100).unwrap_or(u8::MAX)
    };
    let ([r, g, b], [to_r, to_g, to_b]) = (from, to);
    [part(r, to_r), part(g, to_g), part(b, to_b)]
}

/// WCAG 2.2, *contrast ratio*: 1 to 21.
fn contrast(one: Rgb, two: Rgb) -> f64 {
    let (one, two) = (luminance(one), luminance(two));
    (one.max(two) + 0.05) / (one.min(two) + 0.05)
}

/// WCAG 2.2, *relative luminance*.
fn luminance([r, g, b]: Rgb) -> f64 {
    let part = |value: u8| {
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    };
    0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b)
}

fn hex([r, g, b]: Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(digits: &str) -> Rgb {
        let full: String = match digits.len() {
            3 => digits.chars().flat_map(|digit| [digit, digit]).collect(),
            _ => digits.to_owned(),
        };
        let part = |at: usize| u8::from_str_radix(&full[at..at + 2], 16).unwrap();
        [part(0), part(2), part(4)]
    }

    fn colour(block: &str, name: &str) -> Rgb {
        let value = block.split_once(&format!("--{name}:#")).unwrap().1;
        let digits: String = value.chars().take_while(char::is_ascii_hexdigit).collect();
        parse(&digits)
    }

    fn blocks(style: &str) -> [&str; 2] {
        [(":root{", "}"), ("dark){:root{", "}}")].map(|(start, end)| {
            let rest = style.split_once(start).unwrap().1;
            rest.split_once(end).unwrap().0
        })
    }

    #[test]
    fn text_stands_out_in_light_and_dark() {
        for block in blocks(STYLE) {
            for (text, ground, least) in [
                ("ink", "sheet", LEAST_CONTRAST),
                ("ink", "box", LEAST_CONTRAST),
                ("ink", "ground", LEAST_CONTRAST),
                ("soft", "ground", LEAST_CONTRAST),
                ("soft", "sheet", LEAST_CONTRAST),
                ("soft", "box", LEAST_CONTRAST),
                ("mark", "box", LEAST_CONTRAST),
                ("accent", "sheet", LEAST_CONTRAST),
                ("accent", "ground", LEAST_CONTRAST),
                ("accent", "box", LEAST_CONTRAST),
                ("good", "sheet", LEAST_CONTRAST),
                ("bad", "sheet", LEAST_CONTRAST),
                ("bad", "box", LEAST_CONTRAST),
                // WCAG 2.2 §1.4.11: the edges of what can be filled in, and of what has the focus.
                ("edge", "sheet", 3.0),
                ("mark", "sheet", 3.0),
                ("mark", "ground", 3.0),
            ] {
                let found = contrast(colour(block, text), colour(block, ground));
                assert!(found >= least, "{text} on {ground}: {found}");
            }
        }
    }

    #[test]
    fn the_grounds_are_those_of_the_style() {
        for (block, grounds) in blocks(STYLE).into_iter().zip([LIGHT, DARK]) {
            let named = ["sheet", "ground", "box"].map(|name| colour(block, name));
            assert_eq!(named, grounds);
        }
    }

    #[test]
    fn a_colour_that_can_be_read_stays_as_it_is() {
        assert_eq!(
            shade([0x0b, 0x3d, 0x91], [0; 3], &LIGHT),
            [0x0b, 0x3d, 0x91]
        );
        assert_eq!(
            shade([0xff, 0xd7, 0x00], [0xff; 3], &DARK),
            [0xff, 0xd7, 0x00]
        );
    }

    #[test]
    fn the_way_ends_where_everything_can_be_read() {
        for (end, grounds) in [([0; 3], LIGHT), ([0xff; 3], DARK)] {
            for ground in grounds {
                assert!(contrast(end, ground) >= LEAST_CONTRAST);
            }
        }
    }

    #[test]
    fn contrast_is_what_wcag_says() {
        let ratio = contrast([0; 3], [0xff; 3]);
        assert!((ratio - 21.0).abs() < 0.001, "{ratio}");
        let ratio = contrast([0x77; 3], [0xff; 3]);
        assert!((ratio - 4.478).abs() < 0.001, "{ratio}");
    }

    proptest! {
        #[test]
        fn any_colour_can_be_read(colour_given in any::<Rgb>()) {
            let rules = in_colour(colour_given);
            for (block, grounds) in blocks(&rules).into_iter().zip([LIGHT, DARK]) {
                let accent = colour(block, "accent");
                for ground in grounds {
                    prop_assert!(contrast(accent, ground) >= LEAST_CONTRAST, "{rules}");
                }
            }
        }
    }
}
