//! Every meeting of two versions, and that a plan that was carried out leaves nothing to be done.

use proptest::prelude::*;

use super::*;

fn stamp(size: u64, seconds: i64) -> Stamp {
    Stamp { size, seconds, nanoseconds: 0 }
}

fn listing(files: &[(&str, Stamp)]) -> Listing {
    files.iter().map(|(name, stamp)| (PathBuf::from(name), *stamp)).collect()
}

fn planned(
    (here, there): (&Listing, &Listing),
    memory: &SyncMemory,
    (same, direction): (&[&str], Direction),
) -> SyncPlan {
    let sides = Sides { here, there, memory, name_here: "odin", name_there: "k@thor" };
    plan(sides, &same.iter().map(PathBuf::from).collect(), direction)
}

fn words(plan: &SyncPlan) -> Vec<String> {
    let steps = plan.steps.iter().map(|step| match step {
        Step::Download(one) => format!("get {} {:?}", one.name.display(), one.why),
        Step::Upload(one) => format!("put {} {:?}", one.name.display(), one.why),
        Step::KeepBoth(both) => {
            let copy = |copy: &Option<Copy>| {
                copy.as_ref().map(|copy| format!("{} {}", copy.name.display(), copy.is_there))
            };
            format!("both {:?} {:?}", copy(&both.theirs_here), copy(&both.ours_there))
        }
    });
    let left = plan.left.iter().map(|(name, why)| format!("left {} {why:?}", name.display()));
    steps.chain(left).collect()
}

#[test]
fn without_a_memory_the_newer_version_wins() {
    let here = listing(&[
        ("both-newer-here.csv", stamp(1, 20)),
        ("both-newer-there.csv", stamp(1, 10)),
        ("only here.csv", stamp(1, 10)),
        ("same.csv", stamp(7, 10)),
    ]);
    let there = listing(&[
        ("both-newer-here.csv", stamp(2, 10)),
        ("both-newer-there.csv", stamp(2, 20)),
        ("same.csv", stamp(7, 99)),
        ("sub/only there.csv", stamp(1, 10)),
    ]);
    let none = SyncMemory::new();
    let sides = Sides { here: &here, there: &there, memory: &none, name_here: "", name_there: "" };
    assert_eq!(to_compare(sides), [PathBuf::from("same.csv")]);
    let of = |direction| words(&planned((&here, &there), &none, (&["same.csv"], direction)));
    assert_eq!(
        of(Direction::TwoWay),
        [
            "put both-newer-here.csv Newer",
            "get both-newer-there.csv Newer",
            "put only here.csv New",
            "get sub/only there.csv New"
        ]
    );
    assert_eq!(
        of(Direction::Download),
        [
            "get both-newer-there.csv Newer",
            "get sub/only there.csv New",
            "left both-newer-here.csv NewsHere",
            "left only here.csv NewsHere"
        ]
    );
    assert_eq!(
        of(Direction::Upload),
        [
            "put both-newer-here.csv Newer",
            "put only here.csv New",
            "left both-newer-there.csv NewsThere",
            "left sub/only there.csv NewsThere"
        ]
    );
    let plan = planned((&here, &there), &none, (&["same.csv"], Direction::Download));
    assert_eq!((plan.equal, plan.settled.len()), (1, 1));
}

#[test]
fn one_time_and_two_contents_are_a_conflict_and_both_stay() {
    let here = listing(&[("a.tar.gz", stamp(1, 1_764_173_700))]);
    let there = listing(&[("a.tar.gz", stamp(1, 1_764_173_700))]);
    let none = SyncMemory::new();
    let of = |direction| words(&planned((&here, &there), &none, (&[], direction)));
    let ours = "a.tar.conflict-odin-20251126_161500.gz false";
    let theirs = "a.tar.conflict-k-thor-20251126_161500.gz false";
    assert_eq!(of(Direction::TwoWay), [format!("both Some({theirs:?}) Some({ours:?})")]);
    assert_eq!(of(Direction::Download), [format!("both Some({theirs:?}) None")]);
    assert_eq!(of(Direction::Upload), [format!("both None Some({ours:?})")]);
}

#[test]
fn with_a_memory_the_side_that_changed_wins_and_two_changes_are_a_conflict() {
    let old = (stamp(1, 10), stamp(1, 10));
    let equal = Remembered::equal(old.0, old.1);
    let kept_here = Remembered { theirs_here: true, ..equal };
    let sent = Remembered { ours_there: true, ..equal };
    for (here, there, known, expected) in [
        (old.0, old.1, equal, ""),
        // Also when its clock is behind.
        (stamp(2, 5), old.1, equal, "put x Changed"),
        (old.0, stamp(2, 5), equal, "get x Changed"),
        (stamp(2, 20), stamp(3, 30), equal, "both"),
        (old.0, old.1, kept_here, "left x Conflict"),
        (stamp(2, 20), old.1, kept_here, "put x Changed"),
        (old.0, stamp(2, 20), kept_here, "both"),
        (old.0, stamp(2, 20), sent, "get x Changed"),
        (stamp(2, 20), old.1, sent, "both"),
    ] {
        let (here, there) = (listing(&[("x", here)]), listing(&[("x", there)]));
        let memory = SyncMemory::from([(PathBuf::from("x"), known)]);
        let found = words(&planned((&here, &there), &memory, (&[], Direction::TwoWay))).join(", ");
        assert!(found.starts_with(expected), "{found} in place of {expected}");
        assert_eq!(found.is_empty(), expected.is_empty(), "{found}");
    }
}

#[test]
fn copies_stay_where_they_are_and_are_made_once() {
    let time = 1_764_173_700;
    let copy = "x.conflict-k-thor-20251126_161500";
    let here = listing(&[("x", stamp(1, time)), (copy, stamp(5, 0))]);
    let there =
        listing(&[("x", stamp(5, time)), ("y.conflict-odin-20251126_161500-2.csv", stamp(1, 1))]);
    let none = SyncMemory::new();
    let of = |there: &Listing| words(&planned((&here, there), &none, (&[], Direction::Download)));
    assert_eq!(of(&there), [format!("both Some(\"{copy} true\") None")]);
    let longer = listing(&[("x", stamp(6, time))]);
    assert_eq!(of(&longer), [format!("both Some(\"{copy}-2 false\") None")]);
    for (name, expected) in [
        ("a.conflict-odin-20251126_161500.csv", true),
        ("a.conflict-odin-20251126_161500", true),
        ("a.conflict-odin.csv", false),
        ("conflict-odin-20251126_161500.csv", false),
    ] {
        assert_eq!(is_copy(Path::new(name)), expected, "{name}");
    }
}

/// Carries a plan out on two listings.
fn carry_out(plan: &SyncPlan, here: &mut Listing, there: &mut Listing, memory: &mut SyncMemory) {
    memory.extend(plan.settled.iter().cloned());
    for step in &plan.steps {
        match step {
            Step::Download(one) => {
                here.insert(one.name.clone(), one.stamp);
                memory.insert(one.name.clone(), Remembered::equal(one.stamp, one.stamp));
            }
            Step::Upload(one) => {
                there.insert(one.name.clone(), one.stamp);
                memory.insert(one.name.clone(), Remembered::equal(one.stamp, one.stamp));
            }
            Step::KeepBoth(both) => {
                for (copy, (side, version)) in [
                    (&both.theirs_here, (&mut *here, both.there)),
                    (&both.ours_there, (&mut *there, both.here)),
                ] {
                    if let Some(copy) = copy {
                        side.insert(copy.name.clone(), version);
                    }
                }
                let known = Remembered {
                    here: both.here,
                    there: both.there,
                    theirs_here: both.theirs_here.is_some(),
                    ours_there: both.ours_there.is_some(),
                };
                memory.insert(both.name.clone(), known);
            }
        }
    }
}

fn any_listing() -> impl Strategy<Value = Listing> {
    let file = ("[a-d]", (0_u64..3, 0_i64..3));
    proptest::collection::btree_map(file.0, file.1, 0..4).prop_map(|files| {
        files.into_iter().map(|(name, (size, time))| (name.into(), stamp(size, time))).collect()
    })
}

proptest! {
    /// Whatever changed in between, a second run has nothing to do, and no version is lost: each is
    /// still on a side, or was older than, or the base of, the one that replaced it.
    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do(
        mut here in any_listing(), mut there in any_listing(),
        edits in proptest::collection::vec((any::<bool>(), "[a-d]", 3_u64..6, 3_i64..6), 0..6),
        direction in prop_oneof![
            Just(Direction::Download), Just(Direction::Upload), Just(Direction::TwoWay)
        ],
    ) {
        let mut memory = SyncMemory::new();
        for round in 0..2 {
            let before = (here.clone(), there.clone());
            let first = planned((&here, &there), &memory, (&[], direction));
            carry_out(&first, &mut here, &mut there, &mut memory);
            prop_assert!(before.0.keys().all(|name| here.contains_key(name)));
            prop_assert!(before.1.keys().all(|name| there.contains_key(name)));
            let second = planned((&here, &there), &memory, (&[], direction));
            prop_assert_eq!(second.steps, Vec::new(), "{}", round);
            for (is_here, name, size, time) in &edits {
                let side = if *is_here { &mut here } else { &mut there };
                side.insert(name.into(), stamp(*size, *time));
            }
        }
    }
}
