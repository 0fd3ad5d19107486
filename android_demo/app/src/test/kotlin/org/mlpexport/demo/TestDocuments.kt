package org.mlpexport.demo

import android.content.pm.ProviderInfo
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.os.CancellationSignal
import android.os.ParcelFileDescriptor
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import android.provider.DocumentsProvider
import org.robolectric.Robolectric
import java.io.File
import java.io.FileNotFoundException

/** What the system's picker shows, made of a folder: documents are known by their paths in it. */
class TestDocuments : DocumentsProvider() {
    lateinit var root: File

    /** As if the user had taken the permission back. */
    @Volatile var denies = false

    override fun onCreate() = true

    override fun queryRoots(projection: Array<String>?): Cursor = MatrixCursor(arrayOf("root_id"))

    override fun queryDocument(documentId: String, projection: Array<String>?): Cursor =
        cursor(listOf(file(documentId)), projection)

    override fun queryChildDocuments(parent: String, projection: Array<String>?, sortOrder: String?): Cursor =
        cursor(file(parent).listFiles().orEmpty().toList(), projection)

    override fun openDocument(documentId: String, mode: String, signal: CancellationSignal?): ParcelFileDescriptor {
        if (denies) throw SecurityException("Permission Denial")
        val file = file(documentId)
        if (!file.isFile) throw FileNotFoundException(documentId)
        return ParcelFileDescriptor.open(file, ParcelFileDescriptor.MODE_READ_ONLY)
    }

    override fun isChildDocument(parentDocumentId: String, documentId: String) = documentId.startsWith(parentDocumentId)

    private fun file(id: String) = File(root, id)

    private fun cursor(files: List<File>, projection: Array<String>?): Cursor {
        if (denies) throw SecurityException("Permission Denial")
        val columns = projection ?: arrayOf(Document.COLUMN_DISPLAY_NAME)
        return MatrixCursor(columns).apply {
            files.forEach { file ->
                addRow(
                    columns.map { column ->
                        when (column) {
                            Document.COLUMN_DOCUMENT_ID -> file.relativeTo(root).path
                            Document.COLUMN_DISPLAY_NAME -> file.name
                            Document.COLUMN_SIZE -> if (file.isFile) file.length() else null
                            Document.COLUMN_MIME_TYPE -> if (file.isFile) "text/plain" else Document.MIME_TYPE_DIR
                            else -> null
                        }
                    },
                )
            }
        }
    }

    companion object {
        private const val AUTHORITY = "org.mlpexport.test.documents"

        fun install(root: File): TestDocuments {
            val info = ProviderInfo().apply {
                authority = AUTHORITY
                exported = true
                grantUriPermissions = true
                readPermission = android.Manifest.permission.MANAGE_DOCUMENTS
                writePermission = android.Manifest.permission.MANAGE_DOCUMENTS
            }
            return Robolectric.buildContentProvider(TestDocuments::class.java).create(info).get().also { it.root = root }
        }

        fun tree(path: String): Uri = DocumentsContract.buildTreeDocumentUri(AUTHORITY, path)

        fun document(path: String): Uri = DocumentsContract.buildDocumentUri(AUTHORITY, path)
    }
}
