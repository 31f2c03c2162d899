//! Each mistake in an attribute has one message, at the very words that are wrong, with the way
//! out.

#[test]
fn a_mistake_is_told_where_it_was_made() {
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}
