package org.mlpexport.demo

/**
 * Why the bundle of [item] must not be asked, as the list of bundles would say it; null where nothing stands against
 * it. An old conversation leads past that list.
 */
fun Screen.obstacle(item: BundleLibrary.Item): String? {
    val entry = when (val entry = item.entry) {
        is BundleEntry.Broken -> return sentence(entry.problem, entry.detail)
        is BundleEntry.Usable -> entry
    }
    val hashes = entry.hashes
    val name = BundleCard.title(entry)
    return when {
        hashes is HashState.Wrong -> getString(R.string.problem_wrong_hash, hashes.file)
        item.fit?.runs != true -> item.fit?.reasons.orEmpty().joinToString(" ") { sentence(it) }
        hashes != HashState.Checked -> getString(R.string.obstacle_unchecked, name)
        !app.licenses.accepted(entry.bundle) -> getString(
            R.string.license_intro,
            name,
            entry.bundle.manifest.model.license ?: getString(R.string.license_unnamed),
        )
        else -> null
    }
}
