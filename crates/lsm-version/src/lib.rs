//! What exists and who still looks at it: versions, edits, the manifest, super versions and their history, seqno publication, file lifetime.
