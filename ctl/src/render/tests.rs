use serde_json::json;

use super::*;

#[test]
fn counts_fit_six_characters() {
    for (number, text) in [
        (0, "0"),
        (99_999, "99999"),
        (100_000, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (1_234_567, "1.23M"),
        (12_345_678, "12.3M"),
        (123_456_789_012, "123G"),
        (u64::MAX, "18.4E"),
    ] {
        assert_eq!(count(number), text, "{number}");
    }
}

#[test]
fn durations_have_their_two_largest_units() {
    for (seconds, text) in [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (300, "5m"),
        (3_661, "1h 1m"),
        (3_601, "1h"),
        (86_400, "1d"),
        (90_061, "1d 1h"),
    ] {
        assert_eq!(duration(seconds), text, "{seconds}");
    }
}

#[test]
fn vlan_modes_read_like_the_options() {
    for (vlan, text) in [
        (json!({"access": 10}), "access 10"),
        (json!({"trunk": [10, 20, "100-199"], "native": 10}), "trunk 10,20,100-199 native 10"),
        (json!({"trunk": "all"}), "trunk all"),
        (json!({"trunk": [10], "native": 10, "native-tagged": true}), "trunk 10 native 10 tagged"),
        (json!({"trunk": [300], "ethertype": "802.1ad"}), "trunk 300 802.1ad"),
        (json!({"trunk": [300], "ethertype": "802.1Q"}), "trunk 300"),
        (json!({"dot1q-tunnel": 300, "customer": [10, 12]}), "dot1q-tunnel 300 customer 10,12"),
        (json!({"new-mode": 1}), "{\"new-mode\":1}"),
        (json!({"access": "\u{1b}]0;x\u{7}"}), "access \\u{1b}]0;x\\u{7}"),
    ] {
        assert_eq!(vlan_mode(&vlan), text);
    }
}

#[test]
fn hostile_text_stays_on_its_line_and_moves_nothing() {
    let hostile = "a\x1b[31mb\nc\u{9b}d\u{202e}e\u{200b}f\x7f";
    assert_eq!(clean(hostile), r"a\u{1b}[31mb\nc\u{9b}d\u{202e}e\u{200b}f\u{7f}");
    assert_eq!(clean_lines("a\nb\tc\rd"), "a\nb\tc\\rd");
    assert_eq!(clean("büro-10 ✓"), "büro-10 ✓");
}

#[test]
fn pictures_keep_colours_and_nothing_else() {
    let picture = "\x1b[1;31m×\x1b[0m a\x1b[2Jb\x1b]0;t\x07\x1b[31\n\x1b";
    let kept = "\x1b[1;31m×\x1b[0m a\\u{1b}[2Jb\\u{1b}]0;t\\u{7}\\u{1b}[31\n\\u{1b}";
    assert_eq!(clean_picture(picture), kept);
}

#[test]
fn json_keeps_its_keys_in_order_and_says_the_same_without_controls() {
    let document = "{\"z\":\"\u{7f}\u{9b}\u{202e}\u{e0041}é\",\"a\":[]}".as_bytes();
    let text = reformat_json(document).unwrap();
    assert_eq!(text, "{\n  \"z\": \"\\u007f\\u009b\\u202e\\udb40\\udc41é\",\n  \"a\": []\n}\n");
    let (before, after): (Value, Value) =
        (serde_json::from_slice(document).unwrap(), serde_json::from_str(&text).unwrap());
    assert_eq!(before, after);
    for broken in ["", "{", "{} x", "\u{1}"] {
        assert!(reformat_json(broken.as_bytes()).is_err(), "{broken:?}");
    }
    assert!(reformat_json(b"\"\xff\"").is_err());
}

#[test]
fn tables_line_up_without_trailing_blanks() {
    let mut grid = Grid::new(["NAME", "#COUNT", "STATE"]);
    grid.row(vec![word("a"), number(7), state(PortState::Up)]);
    grid.row(vec![word("longer"), number(12_345), state(PortState::Failed)]);
    assert_eq!(
        grid.finish(Paint::Plain),
        "NAME    COUNT  STATE\n\
         a           7  up\n\
         longer  12345  failed\n"
    );
}

#[test]
fn only_the_state_is_coloured() {
    let mut grid = Grid::new(["NAME", "STATE"]);
    grid.row(vec![word("a"), state(PortState::Failed)]);
    let text = grid.finish(Paint::Color);
    let row = text.lines().nth(1).unwrap();
    assert!(row.starts_with("a     \x1b["), "{row:?}");
    assert!(!text.lines().next().unwrap().contains('\x1b'), "{text:?}");
}
