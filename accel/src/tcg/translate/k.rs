//! Scalar cryptography (Zk*), but for what it shares with bit manipulation, which is in `b`.

use arch::isa::{Insn, Op as G};

use crate::tcg::ir::{BinOp, Builder, Dst, Op, UnOp, Val, x};

pub(super) fn lower(b: &mut Builder, i: &Insn) -> bool {
    if let Some(op) = unary(i.op) {
        b.un(op, i.rd, x(i.rs1));
    } else if let Some(op) = binary(i) {
        b.bin(op, i.rd, x(i.rs1), x(i.rs2));
    } else if let Some(terms) = sums(i.op) {
        sum(b, i, terms);
    } else if i.op == G::Aes64ks1i {
        b.bin(BinOp::Aes64Ks1, i.rd, x(i.rs1), Val::C(i64::from(i.imm)));
    } else {
        return false;
    }
    true
}

fn unary(op: G) -> Option<UnOp> {
    Some(match op {
        G::Brev8 => UnOp::Brev8,
        G::Aes64im => UnOp::Aes64Im,
        G::Sm3p0 => UnOp::Sm3P0,
        G::Sm3p1 => UnOp::Sm3P1,
        _ => return None,
    })
}

fn binary(i: &Insn) -> Option<BinOp> {
    const SM4_ED: [BinOp; 4] = [BinOp::Sm4Ed0, BinOp::Sm4Ed1, BinOp::Sm4Ed2, BinOp::Sm4Ed3];
    const SM4_KS: [BinOp; 4] = [BinOp::Sm4Ks0, BinOp::Sm4Ks1, BinOp::Sm4Ks2, BinOp::Sm4Ks3];
    Some(match i.op {
        G::Pack => BinOp::Pack,
        G::Packh => BinOp::PackH,
        G::Packw => BinOp::PackW,
        G::Xperm4 => BinOp::Xperm4,
        G::Xperm8 => BinOp::Xperm8,
        G::Aes64es => BinOp::Aes64Es,
        G::Aes64esm => BinOp::Aes64Esm,
        G::Aes64ds => BinOp::Aes64Ds,
        G::Aes64dsm => BinOp::Aes64Dsm,
        G::Aes64ks2 => BinOp::Aes64Ks2,
        G::Sm4ed => SM4_ED[i.imm as usize & 3],
        G::Sm4ks => SM4_KS[i.imm as usize & 3],
        _ => return None,
    })
}

/// The functions of SHA-2 (FIPS 180-4, 4.1): the exclusive or of three rotations, the last one a shift in the small
/// sigmas.
fn sums(op: G) -> Option<[(BinOp, i64); 3]> {
    use BinOp::{Ror, RorW, Srl, SrlW};
    Some(match op {
        G::Sha256sum0 => [(RorW, 2), (RorW, 13), (RorW, 22)],
        G::Sha256sum1 => [(RorW, 6), (RorW, 11), (RorW, 25)],
        G::Sha256sig0 => [(RorW, 7), (RorW, 18), (SrlW, 3)],
        G::Sha256sig1 => [(RorW, 17), (RorW, 19), (SrlW, 10)],
        G::Sha512sum0 => [(Ror, 28), (Ror, 34), (Ror, 39)],
        G::Sha512sum1 => [(Ror, 14), (Ror, 18), (Ror, 41)],
        G::Sha512sig0 => [(Ror, 1), (Ror, 8), (Srl, 7)],
        G::Sha512sig1 => [(Ror, 19), (Ror, 61), (Srl, 6)],
        _ => return None,
    })
}

fn sum(b: &mut Builder, i: &Insn, terms: [(BinOp, i64); 3]) {
    if i.rd == 0 {
        return;
    }
    for (t, (op, n)) in terms.into_iter().enumerate() {
        b.push(Op::Bin { op, d: Dst::T(t as u8), a: x(i.rs1), b: Val::C(n) });
    }
    b.push(Op::Bin { op: BinOp::Xor, d: Dst::T(0), a: Val::T(0), b: Val::T(1) });
    b.push(Op::Bin { op: BinOp::Xor, d: Dst::X(i.rd), a: Val::T(0), b: Val::T(2) });
}
