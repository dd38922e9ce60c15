//! Puts mutants behind switches, by insertions alone and none of them with a line break: lines keep their numbers, so that
//! a compiler's error tells which mutant it is about.

use std::ops::Range;

use proc_macro2::LineColumn;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::list::{At, Genre, Mutant};

/// The module that every crate with woven mutants gets.
pub const SWITCH: &str = "
#[doc(hidden)]
#[allow(missing_docs, unreachable_pub)]
pub mod sanbench_mutant {
    use std::sync::atomic::{AtomicU32, Ordering};
    const UNREAD: u32 = u32::MAX;
    static ACTIVE: AtomicU32 = AtomicU32::new(UNREAD);
    #[inline]
    pub fn on(mutant: u32) -> bool {
        let mut active = ACTIVE.load(Ordering::Relaxed);
        if active == UNREAD {
            active = std::env::var(\"SANBENCH_MUTANT\").ok().and_then(|v| v.parse().ok()).unwrap_or(UNREAD - 1);
            ACTIVE.store(active, Ordering::Relaxed);
        }
        active == mutant
    }
}
";

/// Two insertions around a piece of source.
struct Edit {
    around: Range<usize>,
    before: String,
    after: String,
}

/// A source file while mutants are woven into it.
struct Weaver<'a> {
    source: &'a str,
    /// Byte offset of each line's first character.
    lines: Vec<usize>,
    mutants: &'a [(u32, &'a Mutant)],
    edits: Vec<Edit>,
    woven: Vec<u32>,
    /// Depth of constant contexts, in which no switch can be asked.
    constant: usize,
}

/// Weaves mutants, each with its number, into a file's text. Answers the new text and the numbers that found their place.
///
/// # Errors
/// The file does not parse.
pub fn weave(source: &str, mutants: &[(u32, &Mutant)]) -> Result<(String, Vec<u32>), String> {
    let file = syn::parse_file(source).map_err(|e| e.to_string())?;
    let mut lines = vec![0];
    lines.extend(source.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1));
    let mut weaver = Weaver { source, lines, mutants, edits: Vec::new(), woven: Vec::new(), constant: 0 };
    weaver.visit_file(&file);
    let Weaver { mut edits, woven, .. } = weaver;
    // Outer pieces open first and close last.
    edits.sort_by_key(|e| (e.around.start, std::cmp::Reverse(e.around.end)));
    let mut insertions: Vec<(usize, u8, usize, &str)> = Vec::new();
    for (n, edit) in edits.iter().enumerate() {
        insertions.push((edit.around.start, 1, n, &edit.before));
        insertions.push((edit.around.end, 0, edits.len() - n, &edit.after));
    }
    insertions.sort_by_key(|(at, kind, n, _)| (*at, *kind, *n));
    let mut text = String::with_capacity(source.len() + insertions.len() * 64);
    let mut from = 0;
    for (at, _, _, insertion) in insertions {
        text.push_str(&source[from..at]);
        text.push_str(insertion);
        from = at;
    }
    text.push_str(&source[from..]);
    Ok((text, woven))
}

impl Weaver<'_> {
    fn offset(&self, at: LineColumn) -> usize {
        self.byte(at.line, at.column)
    }

    /// Byte offset of a place; `column` counts characters from 0.
    fn byte(&self, line: usize, column: usize) -> usize {
        let start = self.lines[line - 1];
        let rest = &self.source[start..];
        start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
    }

    fn range(&self, span: proc_macro2::Span) -> Range<usize> {
        self.offset(span.start())..self.offset(span.end())
    }

    fn place(&self, at: At) -> usize {
        self.byte(at.line, at.column - 1)
    }

    /// Mutants of this genre whose replaced piece is exactly this one.
    fn at(&self, genre: Genre, piece: &Range<usize>) -> Vec<(u32, String)> {
        if self.constant > 0 {
            return Vec::new();
        }
        let hit = |m: &Mutant| {
            m.genre == genre && self.place(m.span.start) == piece.start && self.place(m.span.end) == piece.end
        };
        self.mutants.iter().filter(|(_, m)| hit(m)).map(|(n, m)| (*n, m.replacement.clone())).collect()
    }

    /// Mutants that leave out the field that begins here.
    fn fields_at(&self, start: usize) -> Vec<u32> {
        let hit = |m: &Mutant| m.genre == Genre::StructField && self.place(m.span.start) == start;
        let found = self.mutants.iter().filter(|(_, m)| self.constant == 0 && hit(m));
        found.map(|(n, _)| *n).collect()
    }

    fn edit(&mut self, number: u32, around: Range<usize>, before: String, after: &str) {
        self.edits.push(Edit { around, before, after: after.to_owned() });
        self.woven.push(number);
    }

    /// A body: mutants whose replaced piece is all of its statements.
    fn body(&mut self, block: &syn::Block, output: &syn::ReturnType) {
        let (Some(first), Some(last)) = (block.stmts.first(), block.stmts.last()) else { return };
        let piece = self.range(first.span()).start..self.range(last.span()).end;
        let whole = self.range(block.span());
        let mut found = self.at(Genre::FnValue, &piece);
        found.extend(self.at(Genre::FnValue, &whole));
        for (number, replacement) in found {
            let inside = whole.start + 1..whole.start + 1;
            let value = if replacement == "()" { String::new() } else { format!(" {replacement}") };
            if let Some(iterator) = self.iterator(output) {
                // Two iterators have two types: both go into a box. (A body that returns early does not compile then.)
                let before = format!(
                    "{{ if crate::sanbench_mutant::on({number}) {{ return Box::new({replacement}) as {iterator}; }} \
                     Box::new("
                );
                self.edit(number, whole.clone(), before, &format!(") as {iterator} }}"));
                continue;
            }
            self.edit(
                number,
                inside,
                format!(" if crate::sanbench_mutant::on({number}) {{ return{value}; }} "),
                "",
            );
        }
    }

    /// The boxed form of a function's `impl Iterator`.
    fn iterator(&self, output: &syn::ReturnType) -> Option<String> {
        let syn::ReturnType::Type(_, ty) = output else { return None };
        let syn::Type::ImplTrait(opaque) = ty.as_ref() else { return None };
        let bound = opaque.bounds.iter().find(|bound| matches!(bound, syn::TypeParamBound::Trait(_)))?;
        let bound = self.source[self.range(bound.span())].lines().map(str::trim).collect::<Vec<_>>().join(" ");
        bound.starts_with("Iterator").then(|| format!("Box<dyn {bound} + '_>"))
    }

    fn in_constant(&mut self, visit: impl FnOnce(&mut Self)) {
        self.constant += 1;
        visit(self);
        self.constant -= 1;
    }
}

/// Whether a chain of `&&` and `||` has a `let`, which may stand in no other expression.
fn has_let(expr: &syn::Expr) -> bool {
    match expr {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(b) => has_let(&b.left) || has_let(&b.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Weaver<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if item.sig.constness.is_some() {
            return self.in_constant(|s| visit::visit_item_fn(s, item));
        }
        self.body(&item.block, &item.sig.output);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if item.sig.constness.is_some() {
            return self.in_constant(|s| visit::visit_impl_item_fn(s, item));
        }
        self.body(&item.block, &item.sig.output);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.body(block, &item.sig.output);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.in_constant(|s| visit::visit_item_const(s, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.in_constant(|s| visit::visit_item_static(s, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.in_constant(|s| visit::visit_impl_item_const(s, item));
    }

    fn visit_type(&mut self, ty: &'ast syn::Type) {
        self.in_constant(|s| visit::visit_type(s, ty));
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.in_constant(|s| visit::visit_variant(s, variant));
    }

    fn visit_expr_repeat(&mut self, expr: &'ast syn::ExprRepeat) {
        self.visit_expr(&expr.expr);
        self.in_constant(|s| s.visit_expr(&expr.len));
    }

    fn visit_expr_const(&mut self, expr: &'ast syn::ExprConst) {
        self.in_constant(|s| visit::visit_expr_const(s, expr));
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        let op = self.range(expr.op.span());
        let whole = self.range(expr.span());
        let chained = has_let(&expr.left) || has_let(&expr.right);
        for (number, replacement) in self.at(Genre::BinaryOperator, &op) {
            if chained {
                continue;
            }
            let left = &self.source[whole.start..op.start];
            let right = &self.source[op.end..whole.end];
            if left.contains('\n') || right.contains('\n') || left.contains("//") || right.contains("//") {
                // A line break inside the copy would move the lines; blanks mean the same.
                let flat = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
                if left.contains("//") || right.contains("//") {
                    continue;
                }
                let before = format!(
                    "(if crate::sanbench_mutant::on({number}) {{ {} {replacement} {} }} else {{ ",
                    flat(left),
                    flat(right)
                );
                self.edit(number, whole.clone(), before, " })");
                continue;
            }
            let before =
                format!("(if crate::sanbench_mutant::on({number}) {{ {left}{replacement}{right} }} else {{ ");
            self.edit(number, whole.clone(), before, " })");
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_struct(&mut self, expr: &'ast syn::ExprStruct) {
        let base = expr.rest.as_ref().map(|rest| self.range(rest.span()));
        let kind = self.source[self.range(expr.path.span())].to_owned();
        for field in &expr.fields {
            let (whole, value) = (self.range(field.span()), self.range(field.expr.span()));
            // Without a colon the value is the name.
            let (Some(base), syn::Member::Named(name), Some(_)) = (&base, &field.member, field.colon_token) else {
                continue;
            };
            let base = self.source[base.clone()].to_owned();
            for number in self.fields_at(whole.start) {
                if !base.contains('\n') {
                    let before =
                        format!("if crate::sanbench_mutant::on({number}) {{ ({kind} {{ ..{base} }}).{name} }} else {{ ");
                    self.edit(number, value.clone(), before, " }");
                }
            }
        }
        visit::visit_expr_struct(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        let op = self.range(expr.op.span());
        let whole = self.range(expr.span());
        for (number, _) in self.at(Genre::UnaryOperator, &op) {
            let inner = &self.source[op.end..whole.end];
            if inner.contains('\n') {
                continue;
            }
            let before = format!("(if crate::sanbench_mutant::on({number}) {{ {inner} }} else {{ ");
            self.edit(number, whole.clone(), before, " })");
        }
        visit::visit_expr_unary(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let pattern = self.range(arm.pat.span());
        let guard = arm.guard.as_ref().map(|(_, guard)| self.range(guard.span()));
        if let Some(guard) = &guard {
            for (number, replacement) in self.at(Genre::MatchArmGuard, guard) {
                let before = format!("(if crate::sanbench_mutant::on({number}) {{ {replacement} }} else {{ ");
                self.edit(number, guard.clone(), before, " })");
            }
        }
        let whole = self.range(arm.span());
        let ends = [whole.end, self.range(arm.body.span()).end];
        for end in ends {
            for (number, _) in self.at(Genre::MatchArm, &(whole.start..end)) {
                if self.woven.contains(&number) {
                    continue;
                }
                match &guard {
                    Some(guard) => {
                        let before = format!("(!crate::sanbench_mutant::on({number})) && (");
                        self.edit(number, guard.clone(), before, ")");
                    }
                    None => {
                        let behind = pattern.end..pattern.end;
                        self.edit(number, behind, format!(" if !crate::sanbench_mutant::on({number})"), "");
                    }
                }
            }
        }
        visit::visit_arm(self, arm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::Span;

    fn mutant(genre: Genre, line: usize, from: usize, to: usize, replacement: &str) -> Mutant {
        Mutant {
            file: String::new(),
            genre,
            name: String::new(),
            replacement: replacement.to_owned(),
            span: Span { start: At { line, column: from }, end: At { line, column: to } },
            diff: String::new(),
            row: 0,
        }
    }

    #[test]
    fn operators_nest_and_lines_stay() {
        let source = "fn f(a: u8) -> bool {\n    a + 1 < 3\n}\n";
        let less = mutant(Genre::BinaryOperator, 2, 11, 12, "==");
        let plus = mutant(Genre::BinaryOperator, 2, 7, 8, "-");
        let body = mutant(Genre::FnValue, 2, 5, 14, "true");
        let (text, woven) = weave(source, &[(1, &less), (2, &plus), (3, &body)]).unwrap();
        assert_eq!(woven.len(), 3, "{text}");
        assert_eq!(text.lines().count(), source.lines().count());
        assert!(syn::parse_file(&text).is_ok(), "{text}");
        assert!(text.contains("on(3) { return true; }"), "{text}");
    }

    #[test]
    fn constants_are_left_alone() {
        let source = "const A: u8 = 1 + 2;\n";
        let plus = mutant(Genre::BinaryOperator, 1, 17, 18, "-");
        assert_eq!(weave(source, &[(1, &plus)]).unwrap(), (source.to_owned(), vec![]));
    }

    #[test]
    fn an_iterator_goes_into_a_box() {
        let source = "fn f() -> impl Iterator<Item = u8> {\n    0..3\n}\n";
        let body = mutant(Genre::FnValue, 2, 5, 9, "::std::iter::once(0)");
        let (text, woven) = weave(source, &[(4, &body)]).unwrap();
        assert_eq!(woven, [4], "{text}");
        assert!(syn::parse_file(&text).is_ok(), "{text}");
        assert_eq!(text.matches("as Box<dyn Iterator<Item = u8> + '_>").count(), 2, "{text}");
    }

    #[test]
    fn a_field_comes_from_the_base() {
        let source = "fn f(b: S) -> S {\n    S { x: 1, ..b }\n}\n";
        let field = mutant(Genre::StructField, 2, 9, 14, "");
        let (text, woven) = weave(source, &[(5, &field)]).unwrap();
        assert_eq!(woven, [5], "{text}");
        assert!(text.contains("x: if crate::sanbench_mutant::on(5) { (S { ..b }).x } else { 1 }, ..b"), "{text}");
    }

    #[test]
    fn an_arm_goes_by_its_guard() {
        let source = "fn f(a: u8) -> u8 {\n    match a {\n        1 => 2,\n        _ => 3,\n    }\n}\n";
        let arm = mutant(Genre::MatchArm, 3, 9, 16, "");
        let (text, woven) = weave(source, &[(9, &arm)]).unwrap();
        assert_eq!(woven, [9], "{text}");
        assert!(text.contains("1 if !crate::sanbench_mutant::on(9) => 2"), "{text}");
    }
}
