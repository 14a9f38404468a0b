//! From words to conditions. `and` and `or` bind equally, from left to right, as pcap has it; a `vlan` moves what stands
//! behind it in the text one tag further.

mod primitive;

use std::ops::Range;

use super::{
    FilterError,
    lex::{Kind, Token},
    test::{Base, Joint, Node, Operator, Relation, Test, Value},
    words::{self, NUMBERS, PROTOCOLS, named},
};
use crate::view::{ARP, IPV4, IPV6, RARP};
use primitive::Qualifiers;

/// How deeply conditions may be nested: both reading and answering them take a stack.
const DEPTH_MAX: usize = 64;

type Parsed<T = Node> = Result<T, FilterError>;

/// A condition, or a number that is to become part of one.
enum Item {
    Condition(Node),
    Number(Value),
}

pub(super) struct Parser<'t> {
    text: &'t str,
    tokens: &'t [Token],
    next: usize,
    depth: usize,
    /// How many tags have been asked for.
    tags: usize,
    /// What an address alone stands behind, as `b` in `host a or b`.
    last: Option<Qualifiers>,
}

/// Reads all the words of a filter.
pub(super) fn parse(text: &str, tokens: &[Token]) -> Parsed {
    let mut parser = Parser { text, tokens, next: 0, depth: 0, tags: 0, last: None };
    let item = parser.chain()?;
    let node = parser.condition(item)?;
    match parser.peek() {
        None => Ok(node),
        Some(")") => Err(parser.wrong("nothing was opened that this could close")),
        Some(word) => {
            let error = parser.wrong("two conditions stand side by side");
            let near = words::nearest(word).filter(|near| *near != word);
            Err(error.help(match near {
                Some(near) => format!("join them by `and` or `or`; or did you mean `{near}`?"),
                None => "join them by `and` or `or`".to_owned(),
            }))
        }
    }
}

impl<'t> Parser<'t> {
    /// Conditions joined by `and` and `or`.
    fn chain(&mut self) -> Parsed<Item> {
        let first = self.negation()?;
        let mut rest = Vec::new();
        while let Some(joint) = self.joint() {
            let item = self.negation()?;
            rest.push((joint, self.condition(item)?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        Ok(Item::Condition(Node::Chain(Box::new(self.condition(first)?), rest)))
    }

    fn joint(&mut self) -> Option<Joint> {
        if self.take("and") || self.take("&&") {
            Some(Joint::And)
        } else if self.take("or") || self.take("||") {
            Some(Joint::Or)
        } else {
            None
        }
    }

    fn negation(&mut self) -> Parsed<Item> {
        if !self.take("not") && !self.take("!") {
            return self.comparison();
        }
        self.deeper(|parser| {
            let item = parser.negation()?;
            Ok(Item::Condition(Node::Not(Box::new(parser.condition(item)?))))
        })
    }

    fn comparison(&mut self) -> Parsed<Item> {
        let left = match self.sum(0)? {
            Item::Number(left) => left,
            condition => return Ok(condition),
        };
        let Some(relation) = self.relation() else { return Ok(Item::Number(left)) };
        let right = match self.sum(0)? {
            Item::Number(right) => right,
            Item::Condition(_) => {
                return Err(self.before("a number is compared with what is no number"));
            }
        };
        Ok(Item::Condition(Node::Test(Test::Compare { left, relation, right })))
    }

    fn relation(&mut self) -> Option<Relation> {
        let relation = match self.peek()? {
            "<" => Relation::Less,
            "<=" => Relation::LessOrEqual,
            "=" | "==" => Relation::Equal,
            "!=" => Relation::NotEqual,
            ">=" => Relation::GreaterOrEqual,
            ">" => Relation::Greater,
            _ => return None,
        };
        self.next += 1;
        Some(relation)
    }

    /// Numbers joined by operators that bind at least so closely.
    fn sum(&mut self, least: u8) -> Parsed<Item> {
        let mut left = self.atom()?;
        while let Some((operator, binds)) = self.peek().and_then(operator)
            && binds >= least
        {
            let Item::Number(number) = left else {
                return Err(self.wrong("this works on numbers, and what stands before it is none"));
            };
            self.next += 1;
            let at = self.place();
            let Item::Number(right) = self.deeper(|parser| parser.sum(binds + 1))? else {
                return Err(self.before("this works on numbers, and what follows is none"));
            };
            if matches!(operator, Operator::Divide | Operator::Remainder)
                && right == Value::Number(0)
            {
                return Err(FilterError::at(at, "nothing is divided by 0"));
            }
            left = Item::Number(Value::Of(Box::new(number), operator, Box::new(right)));
        }
        Ok(left)
    }

    fn atom(&mut self) -> Parsed<Item> {
        let Some(word) = self.peek() else {
            return Err(self.wrong("the filter ends where a condition is missing"));
        };
        if word == "(" {
            return self.parenthesis();
        }
        if self.take("-") {
            return match self.deeper(Self::atom)? {
                Item::Number(value) => Ok(Item::Number(Value::Negative(Box::new(value)))),
                Item::Condition(_) => Err(self.before("a condition has no sign")),
            };
        }
        if self.take("len") {
            return Ok(Item::Number(Value::Len));
        }
        if self.peek_at(1) == Some("[") {
            return self.load();
        }
        if let Some(number) = named(NUMBERS, word) {
            self.next += 1;
            return Ok(Item::Number(Value::Number(number)));
        }
        let compared = self.peek_at(1).is_some_and(|next| {
            operator(next).is_some() || matches!(next, "<" | "<=" | "=" | "==" | "!=" | ">=" | ">")
        });
        let is_compared = compared || self.is_right_of_comparison();
        if let (true, Some(number)) = (is_compared, number(word)) {
            self.next += 1;
            return Ok(Item::Number(Value::Number(number)));
        }
        self.primitive().map(Item::Condition)
    }

    /// Tells whether a number is expected: what stands before is an operator.
    fn is_right_of_comparison(&self) -> bool {
        let Some(before) = self.next.checked_sub(1) else { return false };
        let word = &self.text[self.tokens[before].at.clone()];
        operator(word).is_some()
            || matches!(word, "<" | "<=" | "=" | "==" | "!=" | ">=" | ">" | "[" | ":")
    }

    fn parenthesis(&mut self) -> Parsed<Item> {
        let opened = self.place();
        self.next += 1;
        let item = self.deeper(Self::chain)?;
        if !self.take(")") {
            return Err(match self.peek() {
                None => FilterError::at(opened, "this bracket is never closed"),
                Some(_) => self
                    .wrong("`)` is missing before this")
                    .help("or join conditions by `and` or `or`"),
            });
        }
        Ok(item)
    }

    /// `tcp[13]`, `ip[2:2]`, `ether[0]`.
    fn load(&mut self) -> Parsed<Item> {
        let word = self.peek().unwrap_or_default();
        let of = match word {
            "ether" => Base::Frame,
            "ip" => Base::Packet(IPV4 as u16),
            "ip6" => Base::Packet(IPV6 as u16),
            "arp" => Base::Packet(ARP as u16),
            "rarp" => Base::Packet(RARP as u16),
            "icmp6" => Base::Ipv6(58),
            _ => {
                match named(PROTOCOLS, word) {
                    Some(number) => Base::Ipv4(number),
                    None => {
                        return Err(self
                        .wrong(format!("there is no protocol `{word}` whose bytes could be asked for"))
                        .help("ether, ip, ip6, arp, rarp, tcp, udp, sctp, icmp and icmp6 have some"));
                    }
                }
            }
        };
        self.next += 2;
        let offset = match self.deeper(|parser| parser.sum(0))? {
            Item::Number(offset) => offset,
            Item::Condition(_) => return Err(self.before("an offset is a number")),
        };
        let mut size = 1;
        if self.take(":") {
            size = match self.peek() {
                Some("1") => 1,
                Some("2") => 2,
                Some("4") => 4,
                _ => return Err(self.wrong("so many bytes make no number: 1, 2 or 4 do")),
            };
            self.next += 1;
        }
        if !self.take("]") {
            return Err(self.wrong("`]` is missing before this"));
        }
        let shift = if of == Base::Frame { 0 } else { self.shift() };
        Ok(Item::Number(Value::Load { shift, of, offset: Box::new(offset), size }))
    }

    /// Returns the bytes of tags between the addresses and what conditions ask for from here on.
    fn shift(&self) -> usize {
        self.tags.saturating_sub(1) * weft_vlan::TAG_LEN
    }

    fn condition(&self, item: Item) -> Parsed {
        match item {
            Item::Condition(node) => Ok(node),
            Item::Number(_) => Err(self
                .before("a number alone is no condition")
                .help("compare it, as in `len > 1000` or `tcp[tcpflags] & tcp-syn != 0`")),
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH_MAX {
            return Err(self.wrong("nested too deeply"));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn peek(&self) -> Option<&'t str> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<&'t str> {
        self.tokens.get(self.next + ahead).map(|token| &self.text[token.at.clone()])
    }

    fn next_is_word(&self) -> bool {
        self.tokens.get(self.next).is_some_and(|token| token.kind == Kind::Word)
    }

    fn take(&mut self, word: &str) -> bool {
        let is_it = self.peek() == Some(word);
        self.next += usize::from(is_it);
        is_it
    }

    /// Returns where the next word stands.
    fn place(&self) -> Range<usize> {
        self.tokens.get(self.next).map_or(self.text.len()..self.text.len(), |it| it.at.clone())
    }

    /// Says what is wrong with the next word.
    fn wrong(&self, message: impl Into<String>) -> FilterError {
        FilterError::at(self.place(), message)
    }

    /// Says what is wrong with the word that was read last.
    fn before(&self, message: impl Into<String>) -> FilterError {
        let at = self.next.checked_sub(1).map_or(0..0, |last| self.tokens[last].at.clone());
        FilterError::at(at, message)
    }

    /// Says that a word means nothing, and which one it may have been.
    fn unknown(&self, word: &str) -> FilterError {
        if words::ELSEWHERE.contains(&word) {
            return self.wrong(format!("`{word}` is not known here"));
        }
        let error = self.wrong(format!("`{word}` means nothing in a filter"));
        match words::nearest(word) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None if word.contains('.') => {
                error.help("names of hosts are not looked up: write their addresses")
            }
            None => error.help(
                "as in `host 10.0.0.1`, `tcp port 80`, `arp or icmp6`; pcap-filter(7) tells more",
            ),
        }
    }
}

/// Returns what a sign does with two numbers, and how closely it binds.
fn operator(sign: &str) -> Option<(Operator, u8)> {
    Some(match sign {
        "|" => (Operator::Or, 0),
        "^" => (Operator::ExclusiveOr, 1),
        "&" => (Operator::And, 2),
        "<<" => (Operator::ShiftLeft, 3),
        ">>" => (Operator::ShiftRight, 3),
        "+" => (Operator::Add, 4),
        "-" => (Operator::Subtract, 4),
        "*" => (Operator::Multiply, 5),
        "/" => (Operator::Divide, 5),
        "%" => (Operator::Remainder, 5),
        _ => return None,
    })
}

/// Reads a number as C writes it.
fn number(word: &str) -> Option<u32> {
    if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        return digits
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then(|| u32::from_str_radix(digits, 16).ok())?;
    }
    if !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match word.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => u32::from_str_radix(digits, 8).ok(),
        _ => word.parse().ok(),
    }
}
