//! Rounds of AES, products of GHASH, SHA-256, and carry-less products, by the host's instructions for the like. They see
//! 128 bits at a time, which is a group of elements.
//!
//! SHA-512, key expansions, SM3 and SM4 are functions' work.

use super::super::asm::rows::*;
use super::super::asm::vex::{Len, Operand, Row};
use super::super::asm::{Cc, Xmm};
use super::bits::REVERSED_BITS;
use super::float::Regs;
use super::lanes::{Active, Part};
use super::*;
use crate::tcg::helpers::vector::crypto::{From, registers};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cipher(Round),
    /// The product of what is there and a key; `add`: vs1 is added before.
    Galois {
        add: bool,
    },
    /// SHA-256: four words more of the message, two rounds by the lower or the upper words.
    Schedule,
    Compress {
        high: bool,
    },
    /// The lower or upper half of products of 64-bit elements.
    Product {
        high: bool,
    },
}

/// A round of AES on the state in vd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Encrypt,
    EncryptLast,
    Decrypt,
    DecryptLast,
    /// The key is added.
    Key,
}

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    kind: Kind,
    from: From,
    /// vs1 is a vector.
    vector: bool,
}

/// Bytes that instructions see at once.
const GROUP: usize = 16;
/// x^128 = x^7 + x^2 + x + 1.
const POLYNOMIAL: i64 = 0x87;

fn kind(op: G) -> Option<(Kind, From, bool)> {
    let cipher = |round, from| Some((Kind::Cipher(round), from, false));
    let same = |kind, vector| Some((kind, From::Same, vector));
    match op {
        G::VaesemVv => cipher(Round::Encrypt, From::Same),
        G::VaesemVs => cipher(Round::Encrypt, From::First),
        G::VaesefVv => cipher(Round::EncryptLast, From::Same),
        G::VaesefVs => cipher(Round::EncryptLast, From::First),
        G::VaesdmVv => cipher(Round::Decrypt, From::Same),
        G::VaesdmVs => cipher(Round::Decrypt, From::First),
        G::VaesdfVv => cipher(Round::DecryptLast, From::Same),
        G::VaesdfVs => cipher(Round::DecryptLast, From::First),
        G::VaeszVs => cipher(Round::Key, From::First),
        G::VghshVv => same(Kind::Galois { add: true }, true),
        G::VgmulVv => same(Kind::Galois { add: false }, false),
        G::Vsha2msVv => same(Kind::Schedule, true),
        G::Vsha2clVv => same(Kind::Compress { high: false }, true),
        G::Vsha2chVv => same(Kind::Compress { high: true }, true),
        G::VclmulVv => same(Kind::Product { high: false }, true),
        G::VclmulVx => same(Kind::Product { high: false }, false),
        G::VclmulhVv => same(Kind::Product { high: true }, true),
        G::VclmulhVx => same(Kind::Product { high: true }, false),
        _ => None,
    }
}

pub fn plan(i: &Insn, v: &Vectors) -> Option<Plan> {
    let (kind, from, vector) = kind(i.op)?;
    let f = &v.features;
    // What has no form for long registers has none for those that have numbers beyond 15 either.
    let short = !v.avx512();
    let possible = match kind {
        Kind::Cipher(Round::Key) => true,
        Kind::Cipher(_) => f.vaes || short && f.aes,
        Kind::Galois { .. } => f.gfni && (f.vpclmulqdq || short && f.pclmul),
        Kind::Schedule | Kind::Compress { .. } => f.sha,
        Kind::Product { .. } => f.vpclmulqdq || short && f.pclmul,
    };
    let s = &i.s;
    if matches!(kind, Kind::Product { .. }) {
        s.check_same(&i.c, vector).ok()?;
        return (possible && s.sew == 3).then_some(Plan { kind, from, vector });
    }
    registers(s, &i.c, from).ok()?;
    if vector {
        s.same(i.c.vs1()).ok()?;
    }
    let sha = matches!(kind, Kind::Schedule | Kind::Compress { .. });
    let apart = i.c.vd() != i.c.vs2() && i.c.vd() != i.c.vs1();
    (possible && s.sew == 2 && i.bytes() >= GROUP && (apart || !sha)).then_some(Plan { kind, from, vector })
}

impl Backend {
    pub(super) fn vector_crypto(&mut self, i: &Insn, plan: &Plan, part: Part) {
        let sew = i.s.sew;
        let product = matches!(plan.kind, Kind::Product { .. });
        if part == Part::Some && !product {
            // No part of a group.
            self.asm.test_byte(VL, (GROUP >> sew) as u8 - 1);
            self.slow_if(i, Cc::Ne);
        }
        let chunks = Chunks::of(i.bytes(), self.crypto_width(plan.kind));
        let (len, lanes) = (chunks.len, chunks.len.bytes() >> sew);
        self.crypto_constants(i, plan, len);
        for at in chunks.offsets() {
            let active = self.active(i, part, product && !i.c.unmasked(), at >> sew, lanes, sew);
            let value = self.crypto_chunk(i, plan, len, at);
            let old = self.vectors.regs().u;
            self.v_put(len, v_slot(&i.s, i.c.vd(), at), value, active, sew, old);
        }
    }

    /// Bytes of a host register for it.
    fn crypto_width(&self, kind: Kind) -> usize {
        let f = &self.features;
        let wide = match kind {
            Kind::Cipher(round) => f.vaes || round == Round::Key,
            Kind::Galois { .. } | Kind::Product { .. } => f.vpclmulqdq,
            Kind::Schedule | Kind::Compress { .. } => false,
        };
        if wide { self.vectors.widest() } else { GROUP }
    }

    /// What all chunks need, in `b` and the results beyond the first. RAX changes.
    fn crypto_constants(&mut self, i: &Insn, plan: &Plan, len: Len) {
        let b = self.vectors.regs().b;
        match plan.kind {
            Kind::Cipher(_) => {
                if plan.from == From::First {
                    let key = v_slot(&i.s, i.c.vs2(), 0);
                    match len {
                        Len::X => self.v_load(len, b, key),
                        _ if self.vectors.avx512() => self.asm.v(VBROADCASTI32X4.len(len), (b, key)),
                        _ => self.asm.v(VBROADCASTI128, (b, key)),
                    }
                }
                let zeros = self.vectors.result(1);
                if plan.kind == Kind::Cipher(Round::Decrypt) {
                    self.v_splat(len, zeros, 3, Val::C(0));
                }
            }
            Kind::Galois { .. } => {
                self.v_splat(len, b, 3, Val::C(REVERSED_BITS));
                let polynomial = self.vectors.result(1);
                self.v_splat(len, polynomial, 3, Val::C(POLYNOMIAL));
            }
            Kind::Product { .. } if !plan.vector => self.v_splat(len, b, 3, i.a),
            _ => {}
        }
    }

    /// The register that holds the result for the chunk from byte `at` on; not `u`.
    fn crypto_chunk(&mut self, i: &Insn, plan: &Plan, len: Len, at: usize) -> Xmm {
        let Regs { b, t, u } = self.vectors.regs();
        let slot = |reg| v_slot(&i.s, reg, at);
        let [d, first, second] = [i.c.vd(), i.c.vs1(), i.c.vs2()].map(slot);
        match plan.kind {
            Kind::Cipher(round) => {
                let key: Operand = if plan.from == From::First { b.into() } else { second.into() };
                self.v_load(len, t, d);
                self.vector_aes(round, len, key);
                t
            }
            Kind::Galois { add } => {
                self.v_load(len, t, d);
                if add {
                    self.asm.v(self.xor().len(len), (t, t, first));
                }
                self.v_load(len, u, second);
                self.vector_ghash(len)
            }
            Kind::Product { high } => {
                self.v_load(len, t, second);
                let by: Operand = if plan.vector { first.into() } else { b.into() };
                self.v_only(len, u, by, Active::All);
                let other = self.vectors.result(0);
                self.asm.v(VPCLMULQDQ.len(len), (other, t, u, 0x11u8));
                self.asm.v(VPCLMULQDQ.len(len), (t, t, u, 0u8));
                let join = if high { VPUNPCKHQDQ } else { VPUNPCKLQDQ };
                self.asm.v(join.len(len), (t, t, other));
                t
            }
            Kind::Schedule | Kind::Compress { .. } => {
                let [x, y, w] = [1, 2, 0].map(Xmm);
                for (to, from) in [(x, d), (y, second), (w, first)] {
                    self.v_load(Len::X, to, from);
                }
                self.vector_sha256(plan.kind, [x, y, w]);
                x
            }
        }
    }

    fn xor(&self) -> &'static Row {
        if self.vectors.avx512() { VPXORQ } else { VPXOR }
    }

    /// `t` = the state behind a round; zeros are in the second result where they are needed.
    fn vector_aes(&mut self, round: Round, len: Len, key: Operand) {
        let t = self.vectors.regs().t;
        match round {
            Round::Encrypt => self.asm.v(VAESENC.len(len), (t, t, key)),
            Round::EncryptLast => self.asm.v(VAESENCLAST.len(len), (t, t, key)),
            Round::DecryptLast => self.asm.v(VAESDECLAST.len(len), (t, t, key)),
            Round::Decrypt => {
                // Columns are mixed behind the key, which the host does before it: the last round of the one way and a
                // round of the other leave nothing but that.
                let zeros = self.vectors.result(1);
                self.asm.v(VAESDECLAST.len(len), (t, t, key));
                self.asm.v(VAESENCLAST.len(len), (t, t, zeros));
                self.asm.v(VAESDEC.len(len), (t, t, zeros));
            }
            Round::Key => self.asm.v(self.xor().len(len), (t, t, key)),
        }
    }

    /// The product of `t` and `u`, bits of whose bytes are the wrong way round, modulo the polynomial. The matrix that
    /// turns them is in `b`, the polynomial in the second result.
    fn vector_ghash(&mut self, len: Len) -> Xmm {
        let Regs { b, t, u } = self.vectors.regs();
        let [low, polynomial, high, middle] = [0, 1, 2, 3].map(|n| self.vectors.result(n));
        let xor = self.xor();
        for r in [t, u] {
            self.asm.v(VGF2P8AFFINEQB.len(len), (r, r, b, 0u8));
        }
        self.asm.v(VPCLMULQDQ.len(len), (low, t, u, 0u8));
        self.asm.v(VPCLMULQDQ.len(len), (high, t, u, 0x11u8));
        self.asm.v(VPCLMULQDQ.len(len), (middle, t, u, 0x01u8));
        self.asm.v(VPCLMULQDQ.len(len), (t, t, u, 0x10u8));
        self.asm.v(xor.len(len), (middle, middle, t));
        self.add_between(len, middle);
        // What is above the lower half comes back times the polynomial: its upper part first, of which some stands above
        // again.
        self.asm.v(VPCLMULQDQ.len(len), (t, high, polynomial, 0x01u8));
        self.add_between(len, t);
        self.asm.v(VPCLMULQDQ.len(len), (t, high, polynomial, 0u8));
        self.asm.v(xor.len(len), (low, low, t));
        self.asm.v(VGF2P8AFFINEQB.len(len), (low, low, b, 0u8));
        low
    }

    /// Adds `rest`, shifted by 64 bits, to the product in the first and third result. `rest` and `u` change.
    fn add_between(&mut self, len: Len, rest: Xmm) {
        let (u, xor) = (self.vectors.regs().u, self.xor());
        let [low, high] = [0, 2].map(|n| self.vectors.result(n));
        self.asm.v(VPSRLDQ.len(len), (u, rest, 8u8));
        self.asm.v(xor.len(len), (high, high, u));
        self.asm.v(VPSLLDQ.len(len), (rest, rest, 8u8));
        self.asm.v(xor.len(len), (low, low, rest));
    }

    /// `x` = the result of SHA-256 for vd in `x`, vs2 in `y` and vs1 in `w`, which is XMM0.
    fn vector_sha256(&mut self, kind: Kind, [x, y, w]: [Xmm; 3]) {
        if kind == Kind::Schedule {
            // The words 9 to 12 are in two registers.
            let t = Xmm(3);
            self.asm.v(VPALIGNR.x(), (t, w, y, 4u8));
            self.asm.sha(0xcc, x, y);
            self.asm.v(VPADDD.x(), (x, x, t));
            self.asm.sha(0xcd, x, w);
            return;
        }
        if kind == (Kind::Compress { high: true }) {
            self.asm.v(VPSHUFD.x(), (w, w, 0x0eu8));
        }
        self.asm.sha(0xcb, x, y);
    }
}
